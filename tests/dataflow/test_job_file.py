"""The job file: every error at once, each with file, line, field, rule and value; hostile YAML ends in one sentence."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.dataflow.jobs import JSON_LINES, Ended, changed, streamgauge, write_job, write_json_lines

AGGREGATION: Final = JSON_LINES["aggregations"][0]
RECORD: Final = JSON_LINES["record"]
MODEL: Final = {"kind": "linear_regression", "target": "value", "features": ["ts"]}
PARQUET, SQLITE = {"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///figures.db"}}


def one(**fields: Any) -> dict[str, Any]:
    """A job of one aggregation with other fields."""
    return {"aggregations": [{**AGGREGATION, **fields}]}


def columns(**types: str) -> dict[str, Any]:
    return {"record": {**RECORD, "columns": {**RECORD["columns"], **types}}}


def event_time(**fields: Any) -> dict[str, Any]:
    return {"record": {**RECORD, "event_time": fields}}


def files(**fields: Any) -> dict[str, Any]:
    return {"source": {"files": {"paths": ["data.jsonl"], "format": "jsonl", **fields}}}


def step(**fields: Any) -> dict[str, Any]:
    return {"preprocess": [fields]}


WRONG: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"job": "a b"}, "job", "must match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$', is a b"),
    ({"job": None}, "job", "is required"),
    ({"sinks": []}, "sinks", "must not be empty, is empty"),
    (
        {"sinks": [PARQUET, {"kafka": {"brokers": "b:1", "topic": f"{'x' * 244}{{table}}"}}]},
        "sinks[1]",
        "the table ledger cannot be a topic",
    ),
    ({"source": {}}, "source", "must be a mapping with one of files, log, kafka, is empty"),
    ({"source": {"pubsub": {"subscription": "s"}}}, "source", "one of files, log, kafka, is pubsub"),
    ({"source": {"log": {"path": "l"}, "files": {}}}, "source", "one of files, log, kafka, has log and files"),
    ({"source": {"log": {"path": ""}}}, "source.log.path", "is ''"),
    ({"source": {"log": {"path": ""}, "kafka": None}}, "source.log.path", "is ''"),
    ({"source": {"log": None, "kafka": None}}, "source", "one of files, log, kafka, has log and kafka"),
    ({"source": {"files": {"files": {"paths": "x"}, "format": "csv"}}}, "source.files.paths", "is required"),
    (files(format="xml"), "source.files.format", "must be 'parquet', 'jsonl' or 'csv', is xml"),
    (files(paths=[]), "source.files.paths", "must not be empty"),
    (event_time(column="when"), "record", "event_time.column must be one of `columns`, is when"),
    (event_time(column="ts"), "record", "must be a timestamp, or have a `unit`; ts is int64"),
    (event_time(column="ts", unit="h"), "record.event_time.unit", "must be 's', 'ms', 'us' or 'ns', is h"),
    (event_time(column="key", unit="s"), "record", "must not be null: write string, not string?"),
    (event_time(column="ts", unit="s", time_zone="Mars"), "record.event_time.time_zone", "IANA database, such as"),
    (event_time(column="ts", unit="s", time_zone="localtime"), "record.event_time.time_zone", "such as Europe/Berlin"),
    (
        one(window={"calendar": "day", "time_zone": "Factory"}),
        "aggregations[0].window.time_zone",
        "IANA database, such",
    ),
    (columns(value="number"), "record.columns.value", "must be 'string', 'int64', 'float64', 'bool' or"),
    (columns(VALUE="int64"), "record.columns.VALUE", "differs from value only in case, which SQL ignores"),
    (one(window={"size": "1 day"}), "aggregations[0].window.size", "must be a duration such as 90s, 15m, 1h or 1d, is"),
    (one(window={"size": 3600}), "aggregations[0].window.size", "must be a duration such as 90s, 15m, 1h or 1d, is 36"),
    (one(window={"size": "0s"}), "aggregations[0].window", "must be longer than 0s and at most 366d, is 0s"),
    (one(window={"size": "1h", "every": "7m"}), "aggregations[0].window", "must divide window.size (1h), is 7m"),
    (one(window={"size": "1h", "calendar": "day"}), "aggregations[0].window", "exactly one of `size` and `calendar`"),
    (one(window={"calendar": "year"}), "aggregations[0].window.calendar", "must be 'day', 'week' or 'month', is year"),
    (one(statistics={"value": ["avg"]}), "aggregations[0].statistics.value", "must be one of count, missing, mean"),
    (one(statistics={"value": ["p101"]}), "aggregations[0].statistics.value", "is p101"),
    (one(statistics={"value": ["top0"]}), "aggregations[0].statistics.value", "is top0"),
    (one(statistics={"value": ["max", "max"]}), "aggregations[0].statistics.value", "must name each statistic once"),
    (one(statistics={"key": ["mean"]}), "aggregations[0].statistics.key", "mean needs numbers, and key is a string"),
    (one(statistics={"speed": ["max"]}), "aggregations[0].statistics.speed", "there is no column speed; there are ts"),
    (one(statistics={}), "aggregations[0]", "must have `statistics` or `models`"),
    (one(key=["kee"]), "aggregations[0].key[0]", "there is no column kee; there are ts, key, value"),
    (one(key=["value"]), "aggregations[0].key[0]", "value is float64, which cannot be a key"),
    (one(name="ledger"), "aggregations[0].name", "the table ledger is a table of every job already"),
    (one(name="é" * 200), "aggregations[0].name", "a folder whose name has 400 bytes; at most 240"),
    (one(models={"m": {**MODEL, "features": ["ts", "key"]}}), "aggregations[0].models.m.features[1]", "needs numbers"),
    (one(models={"m": {**MODEL, "target": "gain"}}), "aggregations[0].models.m.target", "there is no column gain"),
    (one(models={"m": {**MODEL, "alpha": -1}}), "aggregations[0].models.m.alpha", "greater than or equal to 0, is -1"),
    (step(trim=["ts"]), "preprocess[0].trim[0]", "ts is a int64; trim needs string"),
    (step(fill={"value": "much"}), "preprocess[0].fill.value", "'much' is not a float64"),
    (step(clip={"value": [5, 1]}), "preprocess[0]", "must have its lower bound first, is [5, 1]"),
    (step(clip={"value": ["low", 1]}), "preprocess[0].clip.value[0]", "must be [LOW, HIGH], each a number or null, is"),
    (step(derive={"z": "valu * 2"}), "preprocess[0].derive.z", "there is no column valu"),
    (step(derive={"z": "read_text('/etc/passwd')"}), "preprocess[0].derive.z", "read_text"),
    (step(derive={"z": "(select 1)"}), "preprocess[0].derive.z", "must not have a sub-query"),
    (step(filter="value"), "preprocess[0].filter", "must be a condition, and gives a float64 (`value`)"),
    (step(filter="value >"), "preprocess[0].filter", "is not an SQL expression"),
    (step(split={"into": {"a": 0.5}, "by": ["key"]}), "preprocess[0].split", "add up to 1, and adds up to 0.5"),
    (step(apply="module"), "preprocess[0].apply", "must match pattern"),
    (step(pseudonymise={"columns": ["key"], "key_env": "NOT_SET"}), "preprocess[0].pseudonymise.key_env", "NOT_SET is"),
    ({"dead_letters": {"fail_above": 2}}, "dead_letters.fail_above", "must be less than or equal to 1, is 2"),
    ({"dead_letters": {"path": "out/by_key"}}, "dead_letters.path", "dead_letters and by_key would both lie in"),
    ({"sinks": [PARQUET, {"parquet": {"path": "./out"}}]}, "sinks[1]", "would both lie in"),
    ({"sinks": [{"sql": {"url": "figures.db"}}]}, "sinks[0].sql.url", "must look like DIALECT://"),
    ({"sinks": [SQLITE], **one(name="sqlite_x")}, "aggregations[0].name", "cannot be in SQLite"),
    ({"sinks": [SQLITE], **one(name="Streamgauge_Tables")}, "aggregations[0].name", "cannot be in a database"),
    ({"state": "out"}, "state", "must be a folder of its own, and is that of sinks[0]"),
    ({"watermark": {"idle_after": "0s"}}, "watermark", "idle_after must be longer than 0s"),
    ({"execution": {"shards": 0}}, "execution.shards", "must be greater than or equal to 1, is 0"),
    ({"execution": {"range": "much"}}, "execution.range", "must be a size in bytes, such as 64KB or 16MiB, is much"),
    ({"watermark": {"idle_after": 5}}, "watermark.idle_after", "must be a duration such as"),
]

LATER: Final = [
    (one(window={"session_gap": "30m"}), "aggregations[0].window.session_gap"),
    (one(models={"m": {**MODEL, "kind": "random_forest"}}), "aggregations[0].models.m.kind"),
]

UNKNOWN: Final = [
    ({"sink": [PARQUET]}, "sink", "sinks"),
    (files(path="x"), "source.files.path", "paths"),
    ({"source": {"fils": {"paths": "x"}}}, "source", "files"),
    ({"source": {"kafka": {"broker": "a:1", "topic": "t"}}}, "source.kafka.broker", "brokers"),
    ({"record": {**RECORD, "colums": {}}}, "record.colums", "columns"),
    (one(windows={"size": "1h"}), "aggregations[0].windows", "window"),
    (one(window={"size": "1h", "evry": "1m"}), "aggregations[0].window.evry", "every"),
    (one(models={"m": {**MODEL, "feature": []}}), "aggregations[0].models.m.feature", "features"),
    (step(drop_null=["key"]), "preprocess[0]", "drop_nulls"),
    ({"sinks": [{"parket": {"path": "out"}}]}, "sinks[0]", "parquet"),
    ({"dead_letters": {"fail_abov": 1}}, "dead_letters.fail_abov", "fail_above"),
]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Ended]:
    write_json_lines(tmp_path / "data.jsonl", [{"ts": 1, "key": "a", "value": 1.0}])

    def run(**fields: Any) -> Ended:
        return streamgauge("check", write_job(tmp_path, changed(JSON_LINES, **fields)))

    return run


def line_of(job: Path, place: str) -> int | None:
    """The line of a place in a file that PyYAML has written, a field a line."""
    node = yaml.compose(job.read_text(encoding="utf-8"))
    line = 1
    for part in place.replace("]", "").replace("[", ".").split("."):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
            continue
        assert isinstance(node, yaml.MappingNode)
        found = [(key, value) for key, value in node.value if key.value == part]
        if not found:
            return line
        key, node = found[0]
        line = key.start_mark.line + 1
    return line


@pytest.mark.parametrize("fields, place, words", WRONG, ids=[f"{place}: {words[:40]}" for _, place, words in WRONG])
def test_an_error_names_file_line_field_rule_and_value(
    check: Callable[..., Ended], tmp_path: Path, fields: dict[str, Any], place: str, words: str
) -> None:
    ended = check(**fields)
    job = tmp_path / "job.yaml"
    assert ended.code == 2
    line = next(line for line in ended.message.splitlines() if words in line)
    assert f"{job}:{line_of(job, place)}: {place}: " in line


@pytest.mark.parametrize("fields, place", LATER)
def test_what_later_versions_bring_is_refused_clearly(
    check: Callable[..., Ended], fields: dict[str, Any], place: str
) -> None:
    ended = check(**fields)
    assert ended.code == 2
    assert f"{place}: " in ended.message and "this version" in ended.message


@pytest.mark.parametrize("fields, place, nearest", UNKNOWN)
def test_an_unknown_field_suggests_the_nearest(
    check: Callable[..., Ended], fields: dict[str, Any], place: str, nearest: str
) -> None:
    ended = check(**fields)
    assert ended.code == 2
    assert f"{place}: " in ended.message and f"did you mean `{nearest}`?" in ended.message


def test_all_errors_are_told_at_once_in_the_order_of_the_file(check: Callable[..., Ended], tmp_path: Path) -> None:
    ended = check(
        job="a b",
        source={"files": {"paths": ["data.jsonl"], "format": "jsonl", "glob": True}},
        record={**RECORD, "max_lines": "1MB"},
        preprocess=[{"trim": ["kee"]}, {"filter": "valu > 1"}, {"fill": {"value": 0}}],
        aggregations=[
            {**AGGREGATION, "window": {"size": "1h", "every": "7m"}},
            {**AGGREGATION, "name": "second", "key": ["kee"], "statistics": {"speed": ["max"], "key": ["mean"]}},
            {**AGGREGATION, "name": "second", "evry": "1h"},
        ],
        sinks=[{"parket": {"path": "x"}}, PARQUET],
        dead_letters={"fail_above": 7},
        extra=1,
    )
    places = [line.split(": ")[2] for line in ended.message.splitlines()]
    lines = [int(line.split(":")[2]) for line in ended.message.splitlines()]
    assert ended.code == 2
    assert set(places) == {
        *("job", "source.files.glob", "record.max_lines", "preprocess[0].trim[0]", "preprocess[1].filter"),
        *("aggregations[0].window", "aggregations[1].key[0]", "aggregations[1].statistics.speed"),
        *("aggregations[1].statistics.key", "aggregations[2].name", "aggregations[2].evry"),
        *("sinks[0]", "dead_letters.fail_above", "extra"),
    }
    assert lines == sorted(lines)


def test_tables_and_columns_that_would_collide_are_told(check: Callable[..., Ended]) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"aggregations": [AGGREGATION, AGGREGATION]}, "the table by_key is a table of aggregations[0] already"),
        (
            {"aggregations": [{**AGGREGATION, "models": {"m": MODEL}}, {**AGGREGATION, "name": "by_key_models"}]},
            "the table by_key_models is a table of aggregations[0] already",
        ),
        (
            {"aggregations": [AGGREGATION, {**AGGREGATION, "name": "BY_KEY"}], "sinks": [SQLITE]},
            "the table BY_KEY differs from by_key only in case",
        ),
        ({**columns(value_max="string"), **one(key=["value_max"])}, "two columns named value_max"),
        ({**columns(rows="string"), **one(key=["rows"])}, "two columns named rows"),
        ({**columns(model="string"), **one(key=["model"], models={"m": MODEL})}, "two columns named model"),
        ({**columns(Final="string"), **one(key=["Final"]), "sinks": [SQLITE]}, "which differ only in case"),
    ]
    for fields, words in cases:
        ended = check(**fields)
        assert (ended.code, words in ended.message) == (2, True), ended.err


ODD_VALUES: Final = [
    1,
    -1.5,
    True,
    None,
    "x",
    "",
    "\x1b[2J",
    [],
    {},
    [None],
    {"": ""},
    10**400,
    "9" * 4000,
    float("nan"),
]


def test_a_value_of_any_wrong_type_anywhere_ends_in_sentences(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "data.jsonl", [{"ts": 1, "key": "a", "value": 1.0}])
    whole = changed(
        JSON_LINES,
        preprocess=[{"fill": {"value": 0.5}}, {"clip": {"value": [0, 5]}}, {"derive": {"z": "value * 2"}}],
        dead_letters={"path": "letters", "fail_above": 0.5},
        **one(window={"size": "1h", "every": "30m"}, models={"m": MODEL}),
        sinks=[PARQUET, SQLITE],
    )

    def places(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        entries = list(content.items() if isinstance(content, dict) else enumerate(content))
        inner = [places(value, (*place, key)) for key, value in entries if isinstance(value, list | dict)]
        return [(*place, key) for key, _ in entries] + [p for ps in inner for p in ps]

    for place in places(whole):
        for value in ODD_VALUES:
            odd = content = deepcopy(whole)
            for part in place[:-1]:
                content = content[part]
            content[place[-1]] = value
            ended = streamgauge("plan", write_job(tmp_path, odd))
            assert ended.code in (0, 2), (place, value, ended.err)
            assert ended.code == 0 or ended.message
            assert "\x1b" not in ended.err
