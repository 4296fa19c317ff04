import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, linear_regression, stdev

import duckdb
import pytest

from benchmarks.answers import Window, check_answer, exact_answer
from benchmarks.contenders import Task, peers
from benchmarks.events import EventSet, file_paths
from benchmarks.measurement import RunError, measure
from benchmarks.trials import ROOT

EVENTS = EventSet(3_000, keys=4)


@pytest.mark.parametrize("window", [Window(), Window(600, 120)])
def test_exact_answer_equals_the_textbook_on_raw_rows(window: Window, tmp_path: Path) -> None:
    rows = duckdb.read_parquet(str(file_paths(EVENTS, "parquet", tmp_path)[0])).fetchall()
    panes = defaultdict(list)
    for sensor, ts, feature, target in rows:
        last = ts // (window.every_s * 1000) * window.every_s * 1000
        for start in range(last - window.size_s * 1000 + window.every_s * 1000, last + 1, window.every_s * 1000):
            panes[sensor, start].append((feature, target))
    exact = duckdb.read_parquet(str(exact_answer(EVENTS, window, tmp_path)))
    found = exact.project("sensor, window_start, n, mean, std, min, max, slope, intercept").fetchall()
    assert {row[:2] for row in found} == set(panes)
    for sensor, start, n, mean, std, low, high, slope, intercept in found:
        features, targets = zip(*panes[sensor, start], strict=True)
        assert (n, low, high) == (len(features), min(features), max(features))
        assert math.isclose(mean, fmean(features), rel_tol=1e-12)
        if n > 1:
            line = linear_regression(features, targets)
            assert math.isclose(std, stdev(features), rel_tol=1e-9)
            assert math.isclose(slope, line.slope, rel_tol=1e-9)
            assert math.isclose(intercept, line.intercept, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("select * replace (mean * (1 + 2e-9) as mean) from answer", "mean in"),
        ("select * replace (slope * (1 - 2e-9) as slope) from answer", "slope in"),
        ("select * replace (n + 1 as n) from answer", "n in"),
        ("select * replace ('nan'::double as std) from answer", "std in"),
        ("select * replace (null as max) from answer", "max in"),
        ("from answer offset 1", "n in 1, "),
        ("from answer union all (select * replace ('another' as sensor) from answer limit 1)", "n in 1, "),
        ("from answer union all (from answer limit 1)", "it has"),
    ],
)
def test_wrong_answer_is_refused(change: str, complaint: str, tmp_path: Path) -> None:
    exact = exact_answer(EVENTS, Window(), tmp_path)
    with pytest.raises(RunError, match=complaint):
        check_answer(lambda connection: connection.sql(f"with answer as (from '{exact}') {change}"), exact)


def test_duckdb_gives_the_exact_answer(tmp_path: Path) -> None:
    duckdb_peer = next(peer for peer in peers(tmp_path) if peer.name == "duckdb_2")
    task = Task(EVENTS)
    command = duckdb_peer.command(task, file_paths(EVENTS, task.kind, tmp_path), tmp_path)
    measure(command, folder=tmp_path, working_folder=ROOT)
    duckdb_peer.check(task, tmp_path, exact_answer(EVENTS, task.window, tmp_path))
