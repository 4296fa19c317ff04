"""Models of keys and windows against scikit-learn, fitted on the raw rows that each of them may see."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge

from tests.aggregations import DAY, HOUR, Aggregation, aggregation, by_key
from transforms.record.batch import EVENT_TIME
from transforms.specification import ColumnType

COLUMNS: dict[str, ColumnType] = {"k": "string", "x": "float64", "z": "int64", "y": "float64"}
WINDOWS: list[dict[str, str]] = [
    {"size": "1d"},
    {"size": "6h", "every": "2h"},
    {"size": "3d", "every": "1d"},
    {"calendar": "day", "time_zone": "Europe/Berlin"},
    {"calendar": "month", "time_zone": "America/Sao_Paulo"},
]
every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)
Weights = Callable[[pd.DataFrame, Mapping[str, Any]], pd.Series]


def over(window: Mapping[str, Any], **models: Mapping[str, Any]) -> Aggregation:
    return aggregation(COLUMNS, key=["k"], window=window, models=models)


def some_rows(seed: int, size: int = 350, span: int = 4 * DAY) -> pd.DataFrame:
    """Rows of three keys, one of them null, in and out of the epoch, with long silence in the middle."""
    chance = np.random.default_rng(seed)
    at = chance.integers(-span, span, size)
    at[(at > 0) & (at < span // 2)] -= span // 2
    frame = pd.DataFrame({"at": at, "k": chance.choice(np.array(["a", "b", None], object), size)})
    frame["x"] = chance.normal(1e6, 1, size)
    frame["z"] = pd.array(chance.integers(-5, 6, size), "Int64")
    frame["y"] = 3 * frame["x"] - frame["z"].astype(float) + frame["at"] / DAY + chance.normal(0, 1, size)
    for name in ("x", "z", "y"):
        frame[name] = frame[name].mask(chance.random(size) < 0.1)
    return frame


def assert_models(of: Aggregation, frame: pd.DataFrame, weights: Weights, spec: Mapping[str, Any], model: str) -> None:
    """Every row of the model's table is scikit-learn's fit on the rows that have a weight for its window."""
    rows = [row for row in of.models(frame, 37) if row["model"] == model]
    assert [(r["window_start"], r["k"]) for r in rows] == [(r["window_start"], r["k"]) for r in of.rows(frame)]
    for name, row in by_key(rows, "k").items():
        mine = frame[frame["k"].isna() if row["k"] is None else frame["k"] == row["k"]]
        mine = mine[[*spec["features"], spec["target"], "at"]].dropna()
        weight = weights(mine, row)
        mine, weight = mine[weight.notna()], weight[weight.notna()]
        assert row["n"] == len(mine), name
        if len(mine) < 8:
            continue  # few rows determine a model badly: tests of the fit itself go into those
        x, y = mine[list(spec["features"])].to_numpy(float), mine[spec["target"]].to_numpy(float)
        options = {"fit_intercept": spec.get("fit_intercept", True)}
        best = Ridge(alpha=spec["alpha"], solver="svd", **options) if spec.get("alpha") else LinearRegression(**options)
        best.fit(x, y, sample_weight=weight.to_numpy(float))
        got = [row[f"coefficient_{feature}"] for feature in spec["features"]]
        assert got == pytest.approx(best.coef_, rel=1e-9, abs=1e-9), name
        assert row["intercept"] == pytest.approx(best.intercept_, rel=1e-9, abs=1e-3 * 1e-9), name
        squares = np.average((y - best.predict(x)) ** 2, weights=weight)
        assert row["rmse"] == pytest.approx(np.sqrt(squares), rel=1e-7), name
        assert row["r2"] == pytest.approx(best.score(x, y, sample_weight=weight), rel=1e-7, abs=1e-7), name


def in_window(rows: pd.DataFrame, window: Mapping[str, Any]) -> pd.Series:
    inside = (rows["at"] >= window["window_start"]) & (rows["at"] < window["window_end"])
    return pd.Series(1.0, rows.index).where(inside)


def so_far(of: Aggregation, factor: float) -> Weights:
    """All rows up to the window's end, fading by the steps since theirs; a window's last step is its own."""

    def weights(rows: pd.DataFrame, window: Mapping[str, Any]) -> pd.Series:
        cut = of.summary.window
        slices = cut.slices(of.batch(rows.assign(k="", x=0.0, z=0, y=0.0))[EVENT_TIME])
        last = cut.slices(
            of.batch(pd.DataFrame({"at": [window["window_end"] - 1], "k": "", "x": 0, "z": 0, "y": 0}))[EVENT_TIME]
        )
        steps = cut.ordinals(last)[0] - cut.ordinals(slices)
        return pd.Series(factor ** steps.astype(float), rows.index).where(rows["at"] < window["window_end"])

    return weights


@every_window
@pytest.mark.parametrize("options", [{}, {"alpha": 2.5}, {"fit_intercept": False}], ids=str)
def test_a_model_of_its_window_is_fitted_on_the_rows_of_the_window(
    window: dict[str, str], options: dict[str, Any]
) -> None:
    spec = {"target": "y", "features": ["x", "z"], **options}
    assert_models(over(window, m=spec), some_rows(1), in_window, spec, "m")


@every_window
@pytest.mark.parametrize("options", [{}, {"alpha": 2.5}, {"forgetting_factor": 0.8}], ids=str)
def test_a_model_with_a_memory_is_fitted_on_all_rows_so_far(window: dict[str, str], options: dict[str, Any]) -> None:
    spec = {"target": "y", "features": ["x", "z"], "memory": "all", **options}
    of = over(window, m=spec)
    assert_models(of, some_rows(2), so_far(of, spec.get("forgetting_factor", 1.0)), spec, "m")


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([1.0, 0.99, 0.5]), overlap=st.integers(1, 9))
def test_any_rows_are_forgotten_step_by_step(seed: int, factor: float, overlap: int) -> None:
    spec = {"target": "y", "features": ["z"], "memory": "all", "forgetting_factor": factor}
    of = over({"size": f"{6 * overlap}h", "every": "6h"}, m=spec)
    frame = some_rows(seed, 150, 2 * DAY).assign(x=0.0)
    frame["y"] = frame["z"].astype(float) * 2 + frame["at"] / DAY
    assert_models(of, frame, so_far(of, factor), spec, "m")


def test_several_models_stand_side_by_side_with_the_features_of_each() -> None:
    models: dict[str, dict[str, Any]] = {
        "one": {"target": "y", "features": ["x"]},
        "two": {"target": "y", "features": ["z", "x"], "alpha": 1.0},
        "back": {"target": "x", "features": ["y"], "memory": "all"},
    }
    of, frame = over({"size": "2d"}, **models), some_rows(3)
    for name, spec in models.items():
        weights = so_far(of, 1.0) if spec.get("memory") == "all" else in_window
        assert_models(of, frame, weights, spec, name)
    table = of.tables(frame)["a_models"]
    coefficients = ["coefficient_x", "coefficient_z", "coefficient_y"]
    names = [
        "window_start",
        "window_end",
        "k",
        "model",
        "n",
        "intercept",
        *coefficients,
        "r2",
        "rmse",
        "revision",
        "final",
    ]
    assert table.schema.names == names
    assert table.schema == of.outputs[1].schema == of.tables(frame.iloc[:0])["a_models"].schema
    for row in of.models(frame):
        used = {f"coefficient_{feature}" for feature in models[row["model"]]["features"]}
        assert {name for name in coefficients if row[name] is not None} <= used
    order = [(row["window_start"], row["k"] is None, row["k"] or "", row["model"]) for row in of.models(frame)]
    assert order == sorted(order)


def test_a_window_without_complete_rows_has_a_model_of_nothing() -> None:
    spec = {"target": "y", "features": ["x"]}
    frame = pd.DataFrame({"at": [0, 1], "k": "a", "x": [1.0, None], "z": 0, "y": [None, 2.0]})
    (row,) = over({"size": "1h"}, m=spec).models(frame)
    assert (row["n"], row["intercept"], row["coefficient_x"], row["r2"], row["rmse"]) == (0, None, None, None, None)
    (row,) = over({"size": "1h"}, m=spec | {"memory": "all"}).models(frame)
    assert (row["n"], row["intercept"], row["coefficient_x"], row["r2"], row["rmse"]) == (0, None, None, None, None)


def test_a_memory_outlasts_windows_that_taught_nothing() -> None:
    spec = {"target": "y", "features": ["x"], "memory": "all", "forgetting_factor": 0.5}
    at = [0, 1, 2, 5 * HOUR]
    frame = pd.DataFrame({"at": at, "k": "a", "x": [0.0, 1.0, 2.0, None], "z": 0, "y": [1.0, 3.0, 6.0, 7.0]})
    first, last = over({"size": "1h"}, m=spec).models(frame)
    assert (first["window_end"], last["window_end"]) == (HOUR, 6 * HOUR)
    for name in ("n", "intercept", "coefficient_x", "r2", "rmse"):
        assert last[name] == pytest.approx(first[name], rel=1e-12), name


@pytest.mark.parametrize(("steps", "is_known"), [(900, True), (1_070, False), (1_200, False), (50_000, False)])
def test_what_has_faded_away_is_null_and_not_a_model_of_noughts(steps: int, is_known: bool) -> None:
    spec = {"target": "y", "features": ["x"], "memory": "all", "forgetting_factor": 0.5}
    at = [0, 1, 2, steps * HOUR]
    frame = pd.DataFrame({"at": at, "k": "a", "x": [0.0, 1.0, 2.0, None], "z": 0, "y": [1.0, 3.0, 6.0, 7.0]})
    _, last = over({"size": "1h"}, m=spec).models(frame)
    want = pytest.approx(2.5, rel=1e-12) if is_known else None
    assert (last["n"], last["coefficient_x"], last["rmse"] is None) == (3, want, not is_known)


def test_a_key_knows_nothing_of_its_neighbours() -> None:
    spec = {"target": "y", "features": ["x"], "memory": "all"}
    both = pd.DataFrame({"at": np.arange(40) * HOUR, "k": ["a", "b"] * 20, "x": np.arange(40.0), "z": 0})
    both["y"] = np.where(both["k"] == "a", 2 * both["x"], -3 * both["x"] + 1)
    of = over({"size": "10h"}, m=spec)
    alone = [row for key in ("a", "b") for row in of.models(both[both["k"] == key])]
    assert by_key(of.models(both), "k") == by_key(alone, "k")
    assert {round(row["coefficient_x"], 9) for row in alone} == {2.0, -3.0}
