"""The text of a job file: settings and variables on top of it, and YAML that is none, or means harm."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.dataflow.jobs import JSON_LINES, changed, streamgauge, write_job, written

AGGREGATION: Final = JSON_LINES["aggregations"][0]


def test_settings_override_fields_and_are_told_like_them(tmp_path: Path) -> None:
    job = written(tmp_path)
    good = [
        "execution.shards=3",
        "aggregations.0.name=other",
        "sinks=[{parquet: {path: there}}]",
        "record.max_line=9KB",
    ]
    ended = streamgauge("plan", job, *(word for setting in good for word in ("--set", setting)))
    assert ended.code == 0
    assert "3 shards" in ended.out and "other" in ended.out and str(tmp_path / "there") in ended.out
    for setting, words in {
        "execution.shards=0": "--set execution.shards: must be greater than or equal to 1, is 0",
        "execution.shard=1": "--set execution.shard: is not a known field; did you mean `shards`?",
        "a.b.c=1": "--set a.b.c: a is not a known field",
        "aggregations.7.name=x": "the job file has no aggregations[7]",
        "execution": "must be FIELD=VALUE",
        "=1": "must be FIELD=VALUE",
        "execution.shards=!!int x": "must be a whole number",
        "execution.shards=[[[[": "must be a whole number",
    }.items():
        ended = streamgauge("check", job, "--set", setting)
        assert (ended.code, words in ended.message) == (2, True), ended.err


def test_variables_come_from_the_environment_and_their_values_show_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hush/$&\\1hush"
    monkeypatch.setenv("A_SECRET", secret)
    monkeypatch.delenv("NOT_THERE", raising=False)
    written(tmp_path)
    cases: list[dict[str, Any]] = [
        {"sinks": [{"sql": {"url": "postgresql://app:${A_SECRET}@127.0.0.1:1/x"}}]},
        {"sinks": [{"sql": {"url": "${A_SECRET}"}}]},
        {"preprocess": [{"filter": "kee = '${A_SECRET}'"}]},
        {"job": "${A_SECRET}"},
        {"aggregations": [{**AGGREGATION, "key": ["${A_SECRET}"]}]},
        {"aggregations": [{**AGGREGATION, "statistics": {"value": ["${A_SECRET}"]}}]},
        {"aggregations": [{**AGGREGATION, "window": {"size": "${A_SECRET}"}}]},
    ]
    for fields in cases:
        job = write_job(tmp_path, changed(JSON_LINES, **fields))
        for command in ("check", "plan", "run"):
            ended = streamgauge(command, job)
            assert "hush" not in ended.out + ended.err
            assert "Traceback" not in ended.err
    job = write_job(tmp_path, changed(JSON_LINES, report="${NOT_THERE}/a", state="${NOT_THERE_EITHER}"))
    ended = streamgauge("check", job)
    assert ended.code == 2
    assert "report: the environment variable NOT_THERE is not set" in ended.message
    assert "state: the environment variable NOT_THERE_EITHER is not set" in ended.message
    monkeypatch.setenv("FOLDER", "elsewhere")
    job = write_job(tmp_path, changed(JSON_LINES, sinks=[{"parquet": {"path": "${FOLDER}/out"}}]))
    assert str(tmp_path / "elsewhere/out") in streamgauge("plan", job).out


BOMB: Final = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE: Final = {
    "an empty file": ("", "must be a mapping with `job`"),
    "only a comment": ("# nothing\n", "must be a mapping with `job`"),
    "a list": ("- job\n", "must be a mapping with `job`"),
    "a tab": ("job: x\nsource:\n\tfiles: y\n", ":3: is not YAML"),
    "an open quote": ('job: "x\n', "is not YAML"),
    "a key twice": ("job: x\nsource: {}\njob: y\n", ":3: job is there twice"),
    "a key that is a list": ("? [a]\n: b\n", "a key must be a name"),
    "two documents": ("job: x\n---\njob: y\n", "more than one YAML document"),
    "a billion laughs": (BOMB, "holds more than 100,000 values"),
    "an alias of itself": ("job: &a [*a]\n", "the alias *a has no anchor"),
    "a Python object": ("job: !!python/object/apply:os.system ['touch pwned']\n", "the tag !!python/object/apply"),
    "a Python name": ("job: !!python/name:os.system\n", "the tag !!python/name"),
    "an int that is none": ("job: !!int x\n", "x is not a valid int"),
    "a number without end": (f"job: {'9' * 5000}\n", "is not a valid int"),
    "deep lists": ("job: " + "[" * 100_000 + "\n", "nested deeper than"),
    "deep mappings": ("{a: " * 100_000, "nested deeper than"),
    "deep blocks": ("\n".join(" " * depth + "a:" for depth in range(200)), "nested deeper than"),
    "5 MB of garbage": ("%&é[]{}*!|>?-:,\n" * 320_000, "has 5,"),
    "control characters": ("job: \x01\x02\n", "is not YAML"),
}


@pytest.mark.parametrize("text, words", HOSTILE.values(), ids=HOSTILE)
def test_yaml_that_is_none_or_hostile_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "job.yaml"
    job.write_text(text, encoding="utf-8")
    for command in ("check", "plan", "run"):
        ended = streamgauge(command, job)
        assert ended.code == 2
        assert words in ended.message and str(job) in ended.message
        assert len(ended.message.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [job]


def test_a_file_that_is_not_utf_8_or_not_there_ends_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"job: caf\xe9\n")
    assert streamgauge("run", tmp_path / "latin.yaml").message.endswith("latin.yaml: is not UTF-8\n")
    assert streamgauge("run", tmp_path / "gone.yaml").message.endswith("gone.yaml: No such file or directory\n")
    assert streamgauge("run", tmp_path).code == 2


def test_the_flow_style_of_the_documentation_is_read_as_it_stands(tmp_path: Path) -> None:
    job = written(tmp_path)
    text = job.read_text()
    block = text[text.index("  columns:") : text.index("aggregations:")]
    job.write_text(text.replace(block, "  columns: {ts: int64, key: string?, value: float64?}\n"))
    assert streamgauge("check", job).code == 0
