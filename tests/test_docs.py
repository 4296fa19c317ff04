"""What README and docs show is run: every command, every job file, every line of Python."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from dataflow import __version__
from dataflow.commands.load import load_job
from dataflow.job.spec import schema
from dataflow.main import cli, main
from tests.faults.scenarios import SCENARIOS
from transforms.aggregation.family import all_statistics
from transforms.model.kind import kinds
from transforms.preprocessing.spec import STEPS
from transforms.record.dead_letter import REASONS

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [
        line for doc in DOCS for block in blocks(doc.read_text(encoding="utf-8"), "sh") for line in block.splitlines()
    ]
    return [line.split("#")[0].strip() for line in lines if line.startswith("python -m dataflow.main")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout in which the example has run."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("out", ".streamgauge"))
    assert call(["run", str(folder / "examples" / "flights.yaml")]) == 0
    return folder


def call(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_every_command_of_the_docs_runs(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    # These need each other, live, or a cluster or a container engine: their own tests run them.
    elsewhere = {"collect", "send", "verify", "rebuild", "image", "flink"}
    assert {command.split()[3] for command in commands()} >= cli.commands.keys() - elsewhere
    for command in commands():
        assert call(shlex.split(command)[3:]) == 0, capsys.readouterr().err


def test_every_command_is_documented_and_has_help() -> None:
    for name, command in cli.commands.items():
        assert f"dataflow.main {name}" in README, name
        assert command.help


def test_the_python_of_the_readme_runs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    sources = list(blocks(README, "python"))
    assert len(sources) >= 3
    for index, source in enumerate(sources):
        names: dict[str, object] = {"__name__": f"readme_{index}"}
        exec(compile(source, f"README.md python block {index}", "exec"), names)
        for name, value in names.items():
            if name.startswith("test_") and callable(value):
                value()


def test_the_job_file_of_the_readme_is_the_example() -> None:
    shown = yaml.safe_load(next(blocks(README, "yaml")))
    assert shown == yaml.safe_load((ROOT / "examples" / "flights.yaml").read_text(encoding="utf-8"))


def test_the_steps_of_the_readme_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = yaml.safe_load(list(blocks(README, "yaml"))[1])["preprocess"]
    assert {next(iter(step)) for step in steps} == set(STEPS)
    (checkout / "examples" / "my_module.py").write_text("def my_function(frame):\n    return frame\n")
    monkeypatch.setenv("STREAMGAUGE_PSEUDONYM_KEY", "a key")
    path = checkout / "examples" / "flights.yaml"
    job = load_job(str(path), [f"preprocess={json.dumps(steps)}"])
    assert len(job.steps) == len(steps)
    assert call(["run", str(path), "--set", f"preprocess={json.dumps(steps)}"]) == 0


def test_every_step_statistic_model_and_reason_is_documented() -> None:
    job_file = (ROOT / "docs" / "job-file.md").read_text(encoding="utf-8")
    records = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    for step in STEPS:
        assert f"| `{step}: " in job_file, step
    for statistic in all_statistics():
        assert statistic.name in job_file, statistic
    for kind in kinds():
        assert f"{{kind: {kind}, " in job_file, kind
    for reason, meaning in REASONS.items():
        assert f"| `{reason}` | {meaning} |" in records, reason


def test_every_field_of_the_job_file_is_documented() -> None:
    job_file = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("job-file.md", "kafka.md"))
    published = schema()
    for definition in (published, *published["$defs"].values()):
        for name in definition.get("properties", {}):
            assert re.search(rf"`[^`]*\b{name}\b[^`]*`", job_file), name


def test_links_lead_somewhere() -> None:
    for doc in DOCS:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", doc.read_text(encoding="utf-8")):
            assert (doc.parent / target).exists(), f"{doc.name}: {target}"


def test_the_changelog_knows_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_each_word_of_the_glossary_is_defined_where_it_says() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `([\w.]+)` \|$", text, re.MULTILINE)
    words = [word for row, _ in rows for word in row.split(", ")]
    assert 20 < len(rows) <= 30
    assert len(set(words)) == len(words)
    for word, place in rows:
        try:
            found: object = import_module(place)
        except ModuleNotFoundError:
            module, _, name = place.rpartition(".")
            found = getattr(import_module(module), name, None)
        assert found is not None, f"{word}: {place}"


def test_what_holds_each_promise_of_live_md_is_there() -> None:
    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    tables = text[text.index("## Loss and duplication") :]
    rows = [row for row in tables.splitlines() if row.startswith("| ") and "held by" not in row]
    scenarios = set(SCENARIOS)
    for row in rows:
        held = row.rstrip(" |").rpartition(" | ")[2]
        paths = re.findall(r"`(tests/[\w/.]+)`", held)
        assert paths, row
        for path in paths:
            assert (ROOT / path).exists(), path
        assert set(re.findall(r"`(\w+)`", held)) <= scenarios, held
