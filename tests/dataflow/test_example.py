"""The flights example: every figure is pandas', whatever stands in the tables."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sklearn.linear_model import LinearRegression

from tests.dataflow.jobs import ROOT, streamgauge

DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "examples", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("out", ".streamgauge"))
    ended = streamgauge("run", folder / "flights.yaml")
    assert (ended.code, ended.err) == (0, "")
    return folder


@pytest.fixture(scope="module")
def flights(ran: Path) -> pd.DataFrame:
    return pd.read_parquet(ran / "data" / "flights.parquet").assign(day=lambda f: f.time_hour.dt.floor("1D"))


def table(ran: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(ran / "out" / "flights" / name)


def test_daily_figures_by_carrier_are_those_of_pandas(ran: Path, flights: pd.DataFrame) -> None:
    ours = table(ran, "by_carrier").set_index(["window_start", "carrier"]).sort_index()
    groups = flights.groupby(["day", "carrier"])
    for figure, want in {
        "rows": groups.size(),
        "dep_delay_count": groups.dep_delay.count(),
        "dep_delay_missing": groups.dep_delay.size() - groups.dep_delay.count(),
        "dep_delay_mean": groups.dep_delay.mean(),
        "dep_delay_std": groups.dep_delay.std(),
        "dep_delay_min": groups.dep_delay.min(),
        "dep_delay_max": groups.dep_delay.max(),
        "arr_delay_mean": groups.arr_delay.mean(),
        "distance_mean": groups.distance.mean(),
        "distance_sum": groups.distance.sum().astype(float),
        "tailnum_distinct": groups.tailnum.nunique(),
    }.items():
        spread = groups.dep_delay.agg(lambda values: values.abs().max()).fillna(0)
        assert ours.index.equals(want.index)
        assert (ours[figure].isna() == want.isna()).all(), figure
        near = np.isclose(ours[figure].to_numpy(float), want.to_numpy(float), rtol=1e-12, atol=0, equal_nan=True)
        # A mean near 0 of values that are not is as exact as the values: 1e-12 of the sum of absolute values.
        tiny = np.abs(ours[figure].to_numpy(float) - want.to_numpy(float)) <= 1e-12 * spread.to_numpy()
        assert (near | tiny).all(), figure
    assert ours["final"].all()


def test_percentiles_are_within_one_percent_of_the_order_statistic(ran: Path, flights: pd.DataFrame) -> None:
    ours = table(ran, "by_carrier").set_index(["window_start", "carrier"]).sort_index()
    for figure, q in {"dep_delay_p50": 0.5, "dep_delay_p95": 0.95}.items():
        want = flights.groupby(["day", "carrier"]).dep_delay.quantile(q, interpolation="lower")
        error = (ours[figure] - want).abs()
        assert (error <= 0.01 * want.abs() + 1e-12)[want.notna()].all()
        assert ours[figure][want.isna()].isna().all()


def test_the_most_frequent_values_are_counted_exactly(ran: Path, flights: pd.DataFrame) -> None:
    ours = table(ran, "by_carrier").set_index(["window_start", "carrier"])
    for (day, carrier), rows in list(flights.groupby(["day", "carrier"]))[::97]:
        counts = rows.tailnum.value_counts()
        want = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:5]
        assert [(entry["value"], entry["count"]) for entry in ours.loc[(day, carrier), "tailnum_top5"]] == want


def test_sliding_windows_are_those_of_pandas(ran: Path, flights: pd.DataFrame) -> None:
    ours = table(ran, "by_route")
    ends = pd.Index(ours.window_end.unique())
    assert ends.max() - ends.min() == flights.day.max() - flights.day.min() + 29 * DAY
    for end in ends[:: len(ends) // 7]:
        inside = flights[(flights.time_hour >= end - 30 * DAY) & (flights.time_hour < end)].groupby(["origin", "dest"])
        rows = ours[ours.window_end == end].set_index(["origin", "dest"]).sort_index()
        assert (rows["rows"] == inside.size()).all()
        assert (rows.dep_delay_count == inside.dep_delay.count()).all()
        np.testing.assert_allclose(rows.air_time_std, inside.air_time.std(), rtol=1e-12)
        np.testing.assert_allclose(rows.dep_delay_mean, inside.dep_delay.mean(), rtol=1e-11, atol=1e-12)


def test_models_are_those_of_scikit_learn(ran: Path, flights: pd.DataFrame) -> None:
    ours = table(ran, "by_carrier_models").set_index(["window_start", "carrier"])
    complete = flights.dropna(subset=["dep_delay", "arr_delay", "distance"])
    for (day, carrier), rows in list(complete.groupby(["day", "carrier"]))[::61]:
        want = LinearRegression().fit(rows[["dep_delay", "distance"]].to_numpy(float), rows.arr_delay)
        got = ours.loc[(day, carrier)]
        assert got.n == len(rows)
        coefficients = [got.coefficient_dep_delay, got.coefficient_distance]
        np.testing.assert_allclose(coefficients, want.coef_, rtol=1e-9, atol=1e-11)
        assert got.intercept == pytest.approx(want.intercept_, rel=1e-9, abs=1e-9)


def test_the_database_holds_the_same_rows(ran: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{ran / 'out' / 'flights.db'}")
    with engine.connect() as connection:
        for name in ("by_carrier", "by_carrier_models", "by_route", "ledger"):
            stored = pd.read_sql(sa.text(f"SELECT * FROM {name}"), connection)
            written = table(ran, name)
            assert list(stored.columns) == list(written.columns)
            assert len(stored) == len(written)
    engine.dispose()


def test_a_second_run_leaves_the_same_tables(ran: Path) -> None:
    names = ("by_carrier", "by_carrier_models", "by_route", "ledger")
    before = {name: table(ran, name) for name in names}
    assert streamgauge("run", ran / "flights.yaml", "--set", "execution.shards=3").code == 0
    for name in names:
        key = [c for c in before[name].columns if c in ("window_start", "carrier", "origin", "dest", "first_position")]
        first, second = (t.sort_values(key, ignore_index=True) for t in (before[name], table(ran, name)))
        pd.testing.assert_frame_equal(first, second, rtol=1e-12)
