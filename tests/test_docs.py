"""What README and docs show is run: every command, every job file, every line of Python."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import getdoc, signature
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import transforms
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


def read(page: str) -> str:
    """The text of a page in docs/."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


WITH_PYTHON = [
    path.relative_to(ROOT / "docs").as_posix() for path in DOCS[1:-1] if "```python\n" in path.read_text("utf-8")
]


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


@pytest.mark.parametrize("text", [transforms.__doc__ or "", *map(read, WITH_PYTHON)], ids=["transforms", *WITH_PYTHON])
def test_the_python_of_a_page_runs_from_its_beginning_to_its_end(
    text: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    names: dict[str, object] = {"__name__": "page"}
    for source in blocks(text, "python"):
        exec(compile(source, "a python block", "exec"), names)
    for name, value in names.items():
        if name.startswith("test_") and callable(value):
            value()


def public_functions_and_classes() -> dict[str, object]:
    """What `transforms` shows, and what the modules among that show."""
    shown: dict[str, object] = {}
    for name in transforms.__all__:
        value = getattr(transforms, name)
        if isinstance(value, ModuleType):
            own = {n: v for n, v in vars(value).items() if getattr(v, "__module__", None) == value.__name__}
            shown |= {f"{name}.{n}": v for n, v in own.items() if not n.startswith("_")}
        else:
            shown[name] = value
    return shown


def test_every_public_name_is_in_the_reference_and_every_entry_is_a_public_name() -> None:
    entries = re.findall(r"^\.\. auto\w+:: transforms\.([\w.]+)$", read("api.md"), re.MULTILINE)
    assert sorted(entries) == sorted(public_functions_and_classes())
    assert {f"`{name}`" for name in transforms.__all__} <= set(re.findall(r"`\w+`", transforms.__doc__ or ""))


def test_every_argument_and_error_of_a_public_name_is_documented() -> None:
    for name, value in public_functions_and_classes().items():
        text = getdoc(value) or ""
        assert text, name
        arguments = [field.name for field in fields(value) if field.init] if is_dataclass(value) else []
        if not isinstance(value, type):
            arguments = list(signature(value).parameters)  # type: ignore[arg-type]  # a function
        for argument in arguments:
            assert re.search(rf"^    {argument}: ", text, re.MULTILINE), f"{name}: {argument}"
        assert not arguments or "Raises:" in text or "Returns:" in text, name


def test_the_site_has_every_page_once() -> None:
    trees = re.findall(r"^```{toctree}\n(.*?)^```", read("index.md"), re.MULTILINE | re.DOTALL)
    entries = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    named = [re.sub(r".*<(.+)>", r"\1", entry) for entry in entries]
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(named) == sorted(pages - {"index"})
    assert [re.search(r":caption: (.*)", tree)[1] for tree in trees] == [  # type: ignore[index]
        *("Tutorial", "How to", "Reference", "Explanation")
    ]


def test_what_builds_the_site_is_pinned() -> None:
    pins = (ROOT / "docs" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins if pin and not pin.startswith("#"))


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
