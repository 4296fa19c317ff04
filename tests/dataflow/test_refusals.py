"""A job that cannot mean what it says is refused before anything is read: by `check` and by `run`, in one sentence."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.dataflow.jobs import JSON_LINES, changed, parquet_table, streamgauge, tree, write_json_lines

AGGREGATION: Final = JSON_LINES["aggregations"][0]
RECORD: Final = JSON_LINES["record"]
POSTGRES: Final = "postgresql://app@127.0.0.1:1/figures"
KAFKA: Final = {"brokers": "127.0.0.1:1", "topic": "by_key"}


def parquet(path: str) -> dict[str, Any]:
    return {"sinks": [{"parquet": {"path": path}}]}


def sql(*urls: str) -> dict[str, Any]:
    return {"sinks": [{"sql": {"url": url}} for url in urls]}


def schema(name: str, url: str) -> dict[str, Any]:
    return {"sinks": [{"sql": {"url": url, "schema": name}}]}


def one(**fields: Any) -> dict[str, Any]:
    return {"aggregations": [{**AGGREGATION, **fields}]}


def files(*paths: str, kind: str = "jsonl", **columns: str) -> dict[str, Any]:
    named = {"ts": "int64", "key": "string?", "value": "float64?", **columns}
    source = {"files": {"paths": list(paths), "format": kind}}
    return {"source": source, "record": {**RECORD, "columns": named}}


def wide(figures: int) -> dict[str, Any]:
    """An aggregation of so many columns of figures, all float64 but `rows`."""
    percentiles = [f"p{i // 1000}.{i % 1000:03}" for i in range(figures)]
    return one(statistics={"value": percentiles})


def keys(count: int) -> dict[str, Any]:
    names = [f"k{i}" for i in range(count)]
    columns = {"ts": "int64", "value": "float64?", **dict.fromkeys(names, "string?")}
    return {"record": {**RECORD, "columns": columns}, **one(key=names)}


WRONG: Final[list[tuple[dict[str, Any], str]]] = [
    # Columns that no file has.
    (files("wind.csv", kind="csv", windspeed="float64?"), "record.columns.windspeed: no file has a column windspeed;"),
    (
        files("wind.csv", kind="csv", windspeed="float64?"),
        "did you mean `wind_speed`? there are ts, key, value, wind_speed",
    ),
    (files("wind.csv", "plain.csv", kind="csv", Value2="int64"), "record.columns.Value2: no file has a column Value2"),
    (files("wind.csv", "plain.csv", kind="csv", wind_speed="float64"), "plain.csv has no column wind_speed"),
    (files("header.csv", kind="csv", windspeed="float64?"), "did you mean `wind_speed`?"),
    (files("wind.parquet", kind="parquet", windspeed="float64?"), "record.columns.windspeed: no file has a column"),
    (files("wind.parquet", kind="parquet", windspeed="float64"), "did you mean `wind_speed`?"),
    # Places that are none, or not what their author thinks.
    (
        {"state": "s3://bucket/state"},
        "state: must be a path of this machine: this version does not support s3:// here",
    ),
    ({"report": "s3://bucket/r.html"}, "report: must be a path of this machine"),
    ({"report": "gs://bucket/r.html"}, "is gs://bucket/r.html"),
    ({"source": {"log": {"path": "s3://bucket/log"}}}, "source.log.path: must be a path of this machine"),
    (parquet("s3://bucket/x"), "sinks[0].parquet.path: s3://bucket/x cannot be written: Install s3fs to access S3"),
    (parquet("gs://bucket/x"), "cannot be written: Please install gcsfs to access Google Storage"),
    (parquet("foo://bucket/x"), "sinks[0].parquet.path: foo://bucket/x cannot be written: Protocol not known: foo"),
    (parquet("https://host/x"), "sinks[0].parquet.path: https://host/x can be read but not written"),
    (parquet("memory://x"), "sinks[0].parquet.path: memory://x would be lost when the run ends"),
    (parquet("simplecache::s3://bucket/x"), "must not hold `::`"),
    ({"dead_letters": {"path": "s3://bucket/x"}}, "dead_letters.path: s3://bucket/x cannot be written: Install s3fs"),
    ({"dead_letters": {"path": "foo://bucket/x"}}, "dead_letters.path: foo://bucket/x cannot be written"),
    (parquet("s3:/bucket/x"), "sinks[0].parquet.path: a URL has two slashes: s3://, is s3:/bucket/x"),
    (parquet("s3://"), "names no place after s3://"),
    (
        parquet("file://out/x"),
        "sinks[0].parquet.path: a file URL has three slashes: file:///folder/name, is file://out/x",
    ),
    (parquet("~/out"), "sinks[0].parquet.path: `~` is for shells"),
    ({"report": "~/report.html"}, "report: `~` is for shells, and would name a folder here"),
    (files("~/data.jsonl"), "source.files.paths: `~` is for shells"),
    (sql("sqlite:///~/figures.db"), "sinks[0].sql.url: `~` is for shells"),
    (
        parquet("${OUT:-out}"),
        "sinks[0].parquet.path: ${OUT:-out} is not replaced: only ${NAME} is, from the environment",
    ),
    (sql("sqlite:///${OUT:-out}.db"), "sinks[0].sql.url: ${OUT:-out} is not replaced"),
    ({"state": "$HOME/state"}, "state: $HOME is not replaced: write ${HOME}"),
    (parquet("a\0b"), "sinks[0].parquet.path: must not hold U+0000"),
    (files("a\0b.jsonl"), "source.files.paths: must not hold U+0000"),
    ({"report": ""}, "report: must not be empty"),
    (parquet("x" * 241), "sinks[0].parquet.path: has a name of 241 bytes; file systems keep 240"),
    # Databases.
    (sql("mysql+pymysql://app@host/x"), "sinks[0].sql.url: mysql+pymysql://app@host/x: mysql is not supported"),
    (sql("oracle://app:secret@host/x"), "oracle://app:***@host/x: oracle is not supported: this version publishes to"),
    (sql("sqlite://figures.db"), "sinks[0].sql.url: has two slashes before the path"),
    (sql("sqlite:///:memory:"), "sinks[0].sql.url: is a database in memory"),
    (sql("sqlite:///file:x.db?uri=true"), "sinks[0].sql.url: must not have the option uri"),
    (schema("mine", "sqlite:///x.db"), "sinks[0].sql.schema: is of PostgreSQL, and sqlite has no schemas"),
    (schema("pg_mine", POSTGRES), "sinks[0].sql.schema: begins with pg_, as those of PostgreSQL itself do"),
    (schema("My-Own", POSTGRES), "sinks[0].sql.schema: must match pattern"),
    (
        schema("mine", f"{POSTGRES}?options=-csearch_path%3Dx"),
        "sinks[0].sql.schema: contradicts the options of the url",
    ),
    (schema("mine", "nonsense"), "sinks[0].sql.url: the url of the SQL sink cannot be read"),
    (sql("postgresql+nosuch://app@host/x"), "no SQLAlchemy dialect 'postgresql+nosuch' is installed"),
    (sql("postgresql+pg8000://app@host/x"), "the Python package 'pg8000' is needed: pip install 'pg8000'"),
    (
        {**files("data.jsonl", xmin="string?"), **one(key=["xmin"]), **sql(POSTGRES)},
        "would have the column xmin, which",
    ),
    (
        {**files("data.jsonl", ctid="string?"), **one(key=["ctid"]), **sql(POSTGRES)},
        "every table of PostgreSQL has already",
    ),
    ({**wide(1_010), **sql(POSTGRES)}, "bytes in 1,016 columns; PostgreSQL keeps 8,160"),
    ({**keys(31), **sql(POSTGRES)}, "the table by_key would have a key of 33 columns; PostgreSQL keeps 32"),
    ({**one(name="x" * 64), **sql(POSTGRES)}, "has 64 bytes, PostgreSQL keeps 63"),
    # Two things in one place.
    (
        parquet("out") | {"dead_letters": {"path": "./x/../out"}},
        "dead_letters.path: dead_letters and sinks[0] would both",
    ),
    (
        parquet("out") | {"dead_letters": {"path": "link"}},
        "dead_letters.path: dead_letters and sinks[0] would both lie in",
    ),
    (
        {"sinks": [{"parquet": {"path": "out"}}, {"parquet": {"path": "file://HERE/out"}}]},
        "sinks[1]: sinks[1] and sinks[0]",
    ),
    (sql("sqlite:///x.db", "sqlite+pysqlite:///./x.db?timeout=5"), "sinks[1]: sinks[1] and sinks[0] would both lie in"),
    (
        sql(POSTGRES, POSTGRES.replace("postgresql", "postgresql+psycopg")),
        "sinks[1] and sinks[0] would both lie in post",
    ),
    ({"state": "link"}, "state: must be a folder of its own, and is that of sinks[0]"),
    ({"report": "job.yaml"}, "report: must be a file of its own, and is that of the job file"),
    ({"report": "data.jsonl"}, "source.files.paths: data.jsonl is the file of `report`, which this job writes"),
    (
        sql("sqlite:///report.html") | {"report": "report.html"},
        "report: must be a file of its own, and is that of sinks[0]",
    ),
    (files("out/by_key/*.jsonl"), "x.jsonl lies in the folder of by_key, which this job writes"),
    (
        {"aggregations": [AGGREGATION, {**AGGREGATION, "name": "By_Key"}]},
        "aggregations[1].name: the table By_Key differs from",
    ),
    (
        {"aggregations": [{**AGGREGATION, "name": "é"}, {**AGGREGATION, "name": "e\u0301"}]},
        "case or in composed characters",
    ),
    (
        one(name="Ledger"),
        "aggregations[0].name: the table Ledger differs from ledger, a table of every job, only in case",
    ),
    (
        {"source": {"kafka": KAFKA}, "sinks": [*JSON_LINES["sinks"], {"kafka": {"brokers": "127.0.0.1:1"}}]},
        "that the job reads",
    ),
    # Values that are not what they look like.
    ({"execution": {"shards": True}}, "execution.shards: must be a whole number, is true"),
    ({"execution": {"shards": "010"}}, "execution.shards: must be a whole number, is 010"),
    ({"execution": {"range": True}}, "execution.range: must be a size in bytes, such as 64KB or 16MiB, is true"),
    ({"dead_letters": {"fail_above": True}}, "dead_letters.fail_above: must be a number, is true"),
    ({"dead_letters": {"fail_above": 5, "bogus": 1}}, "dead_letters.bogus: is not a known field"),
    ({"dead_letters": {"fail_above": 5, "bogus": 1}}, "dead_letters.fail_above: must be less than or equal to 1, is 5"),
    (one(statistics={"value": ["mean", "median", "p400"]}), "topN, are median, p400 (median is p50 here)"),
    (
        {"source": {"kafka": {**KAFKA, "settings": {"oauth_cb": "x"}}}},
        "must not have oauth_cb, which would run or load",
    ),
    ({"source": {"kafka": {**KAFKA, "settings": {"ssl.providers": "x"}}}}, "must not have ssl.providers"),
    (
        {"record": {**RECORD, "event_time": {"column": "ts", "unit": "s", "time_zone": "Mars"}}},
        "event_time.time_zone: must",
    ),
    (one(window={"calendar": "day", "time_zone": "Mars"}), "aggregations[0].window.time_zone: must be a time zone"),
]

RIGHT: Final[list[dict[str, Any]]] = [
    {},
    {"dead_letters": {"path": "out/dead_letters"}, "state": "out/state", "report": "out/report.html"},
    files("wind.csv", "plain.csv", kind="csv", wind_speed="float64?"),
    files("wind.parquet", kind="parquet", wind_speed="float64?"),
    files("data.jsonl", windspeed="float64?"),  # what a line of JSON may have is not known before it is read
    parquet("file://HERE/out"),
    parquet("file://localhostHERE/a%20b"),
    {
        "state": "file://HERE/state",
        "report": "file://HERE/report.html",
        "dead_letters": {"path": "file://HERE/letters"},
    },
    files("file://HERE/data.jsonl"),
    parquet("./~out/$x"),
    sql("sqlite:///sub/figures.db"),
    sql("sqlite:///./figures.db?timeout=5"),
    sql("sqlite:///HERE/figures.db"),
    {"execution": {"shards": "3"}, "dead_letters": {"fail_above": "0.9"}},
    {"aggregations": [AGGREGATION, {**AGGREGATION, "name": "by key"}]},
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data of every kind, a link to the sink's folder, and no `OUT` in the environment."""
    monkeypatch.delenv("OUT", raising=False)
    record = {"ts": 1, "key": "a", "value": 1.0}
    write_json_lines(tmp_path / "data.jsonl", [record])
    (tmp_path / "wind.csv").write_text("ts,key,value,wind_speed\n1,a,1.0,2.5\n")
    (tmp_path / "plain.csv").write_text("ts,key,value\n1,a,1.0\n")
    (tmp_path / "header.csv").write_text("ts,key,value,wind_speed\n")
    pq.write_table(pa.Table.from_pylist([{**record, "wind_speed": 2.5}]), tmp_path / "wind.parquet")
    (tmp_path / "out/by_key").mkdir(parents=True)
    write_json_lines(tmp_path / "out/by_key/x.jsonl", [record])
    (tmp_path / "link").symlink_to("out")
    return tmp_path


def placed(fields: Mapping[str, Any], folder: Path) -> Path:
    """A job of JSON_LINES with other fields, HERE standing for its folder."""
    job = yaml.safe_dump(changed(JSON_LINES, **fields), sort_keys=False, allow_unicode=True)
    path = folder / "job.yaml"
    path.write_text(job.replace("HERE", str(folder)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("fields", "words"), WRONG, ids=[words[:50] for _, words in WRONG])
def test_a_wrong_job_is_refused_by_check_and_by_run_in_the_same_words(
    folder: Path, fields: dict[str, Any], words: str
) -> None:
    job = placed(fields, folder)
    before = tree(folder)
    checked, ran = streamgauge("check", job), streamgauge("run", job)
    assert (checked.code, ran.code) == (2, 2), (checked, ran)
    assert words in checked.message
    assert checked.message == ran.message
    assert tree(folder) == before
    assert not Path("s3:").exists() and not (folder / "s3:").exists()


@pytest.mark.parametrize("fields", RIGHT, ids=[str(number) for number in range(len(RIGHT))])
def test_a_right_job_passes_check_and_runs(folder: Path, fields: dict[str, Any]) -> None:
    job = placed(fields, folder)
    for command in ("check", "run"):
        ended = streamgauge(command, job)
        assert ended.code == 0, ended.err
    assert not [path for path in tree(folder) if "file:" in path or "HERE" in path]


def test_a_comma_that_cut_an_expression_in_two_is_told(folder: Path) -> None:
    job = placed({}, folder)
    written = job.read_text(encoding="utf-8")
    job.write_text(written + "preprocess:\n- derive: {hour: date_part('hour', date), z: value * 2}\n", encoding="utf-8")
    told = streamgauge("check", job).message
    assert "preprocess[0].derive.date): must be a text, is null: between { and } a comma ends a value" in told
    assert streamgauge("run", job).message == told


def test_numbers_that_are_not_the_same_to_everybody_are_refused(folder: Path) -> None:
    job = placed({}, folder)
    written = job.read_text(encoding="utf-8")
    for number in ("010", "0x1F", "0xf" + "f" * 200_000, "1_000", "1:30", "-0b11", "1_0.5"):
        job.write_text(f"{written}execution: {{shards: {number}}}\n", encoding="utf-8")
        for command in ("check", "run"):
            ended = streamgauge(command, job)
            assert ended.code == 2, ended.err[:300]
            assert "is a different number in other YAML readers" in ended.message, ended.err[:300]


def test_a_column_of_parquet_that_no_type_can_hold_is_told_with_its_type(folder: Path) -> None:
    table = {
        "ts": pa.array([1, 2]),
        "gap": pa.array([1, 2], pa.duration("us")),
        "name": pa.array(["a", "b"], pa.string_view()),
        "unread": pa.array([{"x": 1}, {"x": 2}]),
    }
    pq.write_table(pa.table(table), folder / "odd.parquet")
    fields = {
        "source": {"files": {"paths": ["odd.parquet"], "format": "parquet"}},
        "record": {"event_time": {"column": "ts", "unit": "s"}},
        **one(key=["name"], statistics={"gap": ["max"]}),
    }
    for command in ("check", "run"):
        ended = streamgauge(command, placed(fields, folder))
        assert ended.code == 2
        assert "record: gap is duration[us] in odd.parquet, which no type of a column can hold" in ended.message
    right = streamgauge("run", placed(fields | one(key=["name"], statistics={"ts": ["max"]}), folder))
    assert right.code == 0, right.err
    assert parquet_table(folder / "out/by_key")["name"].to_pylist() == ["a", "b"]


def test_a_file_url_is_the_local_file(folder: Path) -> None:
    fields = {
        **parquet("file://HERE/a%20b"),
        "state": "file://HERE/s",
        "report": "file://HERE/r/r.html",
        "dead_letters": {"path": "file://HERE/letters"},
    }
    assert streamgauge("run", placed(fields, folder)).code == 0
    assert (folder / "a b/by_key/_manifest.json").exists() and (folder / "letters/_manifest.json").exists()
    assert (folder / "s/outcome.json").exists() and (folder / "r/r.html").exists()
    elsewhere = streamgauge("report", folder / "job.yaml", "-o", "s3://bucket/r.html")
    assert (elsewhere.code, "s3://bucket/r.html" in elsewhere.message) == (2, True)
    assert streamgauge("report", folder / "job.yaml", "-o", f"file://{folder}/again.html").code == 0
    assert (folder / "again.html").exists()


def test_all_paths_that_are_wrong_are_told_at_once_beside_other_errors(folder: Path) -> None:
    job = placed(
        {**parquet("~/out"), "state": "s3://b/s", "report": "$HOME/r", **one(statistics={"speed": ["max"]})}, folder
    )
    told = streamgauge("check", job).message
    places = ["aggregations[0].statistics.speed: ", "sinks[0].parquet.path: ", "report: ", "state: "]
    assert [place for place in places if place in told] == places


def test_every_path_of_this_machine_is_refused_for_workers_that_do_not_see_it(folder: Path) -> None:
    job = placed(parquet("out") | {"dead_letters": {"path": "letters"}, "report": "r.html"}, folder)
    for command in ("check", "run"):
        told = streamgauge(command, job, "--runner=DataflowRunner").message.splitlines()
        sentence = "is a path of this machine, which the workers of Dataflow do not see"
        assert told == [
            f"error: source.files.paths: data.jsonl {sentence}",
            f"error: sinks[0].parquet.path: {folder}/out {sentence}",
            f"error: dead_letters.path: {folder}/letters {sentence}",
            f"error: state: {folder}/.streamgauge/readings {sentence}",
        ]
    noted = streamgauge("check", job, "--runner=FlinkRunner")
    assert noted.code == 0
    assert "these must be the same files and folders on every machine of the cluster: data.jsonl, " in noted.out


def test_what_check_finds_where_a_sink_should_be_run_finds_before_it_reads(folder: Path) -> None:
    """A sink in trouble may be well tomorrow: `run` fails with 1, and says what `check` says."""
    (folder / "file").write_text("somebody's")
    (folder / "report.html").mkdir()
    cases: list[tuple[dict[str, Any], str]] = [
        (parquet("file/out"), "file is not a folder"),
        ({"report": "file/r.html"}, "report: "),
        ({"report": "report.html"}, "report.html is a folder, and must be a file"),
        (sql("sqlite:///file/x.db"), "file is not a folder"),
        (sql(POSTGRES), "onnection refused"),
        (parquet("ftp://127.0.0.1:1/x"), "ftp://127.0.0.1:1/x/"),
        (parquet("webhdfs://127.0.0.1:1/x"), "webhdfs://127.0.0.1:1/x/"),
        (parquet("hdfs://127.0.0.1:1/x"), "hdfs://127.0.0.1:1/x/"),
    ]
    for fields, words in cases:
        job = placed(fields, folder)
        checked, ran = streamgauge("check", job), streamgauge("run", job)
        assert (checked.code, ran.code) == (2, 1), (checked, ran)
        assert words in checked.message and len(checked.message.splitlines()) == 1
        if "hdfs" not in words:  # its driver says something else the second time
            assert checked.message == ran.message.replace("error: ", "error: sinks: ")


def test_a_place_that_does_not_answer_is_waited_for_as_long_as_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.storage.parquet.folder.REMOTE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"ftp://127.0.0.1:{silent.getsockname()[1]}/x"
        ended = streamgauge("check", placed(parquet(place), folder))
    assert ended.code == 2
    assert ended.message == f"error: sinks: {place}/by_key cannot be reached: no answer in 0.3 s\n"
