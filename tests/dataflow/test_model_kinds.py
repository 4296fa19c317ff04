"""A kind of model is the work of one file: its job is checked, planned, run and reported with nothing else changed."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.dataflow.jobs import JSON_LINES, ROOT, changed, parquet_tables, readings, run, streamgauge, written
from tests.more_kinds import more_kinds

LINE: Final = {"kind": "linear_regression", "target": "value", "features": ["ts"]}
MODELS: Final[dict[str, Any]] = {
    "line": LINE,
    "usual": {"kind": "mean_of", "column": "value"},
    "level": {"kind": "smoothed", "column": "value", "rate": 0.25},
}
COUNT: Final = 20_000


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    with more_kinds():
        yield


def with_models(models: dict[str, Any], **fields: Any) -> dict[str, Any]:
    aggregation = {**JSON_LINES["aggregations"][0], "statistics": {"value": ["count", "mean"]}, "models": models}
    return changed(JSON_LINES, aggregations=[aggregation], report="report.html", **fields)


def models_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet_tables(folder / "out")["by_key_models"].to_pylist()
    return sorted(rows, key=lambda row: (row["model"], row["key"], row["window_start"]))


def smoothed(values: list[float], rate: float) -> float:
    level = values[0]
    for value in values[1:]:
        level += rate * (value - level)
    return level


def test_its_table_has_its_figures_beside_those_of_other_kinds(tmp_path: Path) -> None:
    records = readings(COUNT)
    run(written(tmp_path, with_models(MODELS), records))
    rows = models_of(tmp_path)
    figures = ["n", "intercept", "coefficient_ts", "r2", "rmse", "constant", "level", "direction"]
    assert list(rows[0]) == ["window_start", "window_end", "key", "model", *figures, "revision", "final"]
    for row in rows:
        first, last = row["window_start"].timestamp(), row["window_end"].timestamp()
        values = [r["value"] for r in records if r["key"] == row["key"] and first <= r["ts"] < last]
        filled = {name for name in figures if row[name] is not None}
        if row["model"] == "usual":
            assert filled == {"n", "constant"}
            assert (row["n"], row["constant"]) == (len(values), pytest.approx(sum(values) / len(values)))
        elif row["model"] == "level":
            assert filled == {"level", "direction"}
            assert row["level"] == smoothed(values, 0.25)
        else:
            assert filled == {"n", "intercept", "coefficient_ts", "r2", "rmse"}
    assert {row["model"] for row in rows} == set(MODELS)


def test_its_table_is_the_same_however_the_run_is_cut(tmp_path: Path) -> None:
    records = readings(COUNT)
    ways = (
        ["--set", "execution.shards=1"],
        ["--set", "execution.range=20KB", "--set", "execution.batch_rows=300", "--set", "execution.shards=5"],
    )
    tables = []
    for number, (way, shuffled) in enumerate((way, shuffled) for way in ways for shuffled in (False, True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        random.Random(number).shuffle(records) if shuffled else records.sort(key=lambda record: int(record["ts"]))
        run(written(folder, with_models({"level": MODELS["level"]}), records), *way)
        tables.append(models_of(folder))
    assert len(tables[0]) > 7
    assert all(table == tables[0] for table in tables[1:])


def test_the_report_has_its_section(tmp_path: Path) -> None:
    run(written(tmp_path, with_models(MODELS), readings(COUNT)))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in (
        *("Model usual", "Predicts value by its mean.", "Constant", "Mean value: observed against predicted"),
        *("Model level", "Follows value from record to record.", "Level"),
        *("Model line", "Predicts value from ts; fitted separately for each window and key.", "Coefficient of ts"),
    ):
        assert words in page, words
    columns = json.loads(page.split('id="series-0">')[1].split("</script>")[0])["columns"]
    assert {"usual: constant", "usual: n", "usual: predicted", "level: level", "line: r2"} <= set(columns)
    assert not {"level: direction", "level: predicted"} & set(columns), "a text is not drawn, nor what predicts nothing"


def test_the_plan_says_what_it_learns_and_its_columns(tmp_path: Path) -> None:
    ended = streamgauge("plan", written(tmp_path, with_models(MODELS)))
    assert ended.code == 0, ended.err
    assert "model usual: the mean of value" in ended.out and "model level: value smoothed by 0.25" in ended.out
    assert "    direction                        string" in ended.out


@pytest.mark.parametrize(
    ("model", "place", "words"),
    [
        ({"kind": "forest"}, "kind", "must be one of `linear_regression`, `mean_of`, `smoothed`, is forest"),
        ({"kind": "smoothed", "column": "value", "rat": 1}, "rat", "is not a known field; did you mean `rate`?"),
        ({"kind": "mean_of", "column": "value", "x": 1}, "x", "is not a known field; there are column, kind"),
        ({"kind": "smoothed", "column": "value", "rate": 0}, "rate", "must be greater than 0, is 0"),
        ({"kind": "smoothed"}, "column", "is required"),
        ({"kind": "mean_of", "column": "key"}, "column", "a model needs numbers, and key is a string"),
        ({"kind": "mean_of", "column": "gone"}, "column", "there is no column gone"),
    ],
)
def test_what_is_wrong_with_it_is_told_as_of_any_field(
    tmp_path: Path, model: dict[str, Any], place: str, words: str
) -> None:
    ended = streamgauge("check", written(tmp_path, with_models({"m": model})))
    assert ended.code == 2
    assert f"aggregations[0].models.m.{place}: {words}" in ended.message


def test_a_key_may_not_have_the_name_of_one_of_its_figures(tmp_path: Path) -> None:
    job = with_models(
        {"m": MODELS["level"]},
        record={**JSON_LINES["record"], "columns": {"ts": "int64", "level": "string", "value": "float64"}},
    )
    job["aggregations"][0]["key"] = ["level"]
    ended = streamgauge("check", written(tmp_path, job))
    assert (ended.code, "the table by_key_models would have two columns named level" in ended.message) == (2, True)


def test_the_schema_of_the_job_file_has_each_kind() -> None:
    script = (
        "import json\nfrom tests.more_kinds import more_kinds\n"
        "with more_kinds():\n    from dataflow.job.spec import schema\n    print(json.dumps(schema()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    models = json.loads(done.stdout)["$defs"]["Aggregation"]["properties"]["models"]["additionalProperties"]
    specs = ("LinearRegressionSpec", "MeanOfSpec", "SmoothedSpec")
    assert models["anyOf"] == [{"$ref": f"#/$defs/{spec}"} for spec in specs]
