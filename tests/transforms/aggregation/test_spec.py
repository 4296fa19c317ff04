"""What an aggregation may be asked for, and the sentence that refuses the rest."""

from typing import Any

import pytest
from pydantic import ValidationError

from transforms.aggregation.family import all_statistics, family_of, statistic_of
from transforms.aggregation.spec import AggregationSpec

PLAIN: dict[str, Any] = {"name": "a", "window": {"size": "1d"}}
COLUMNS: Any = {"k": "string", "x": "float64", "n": "int64", "b": "bool", "t": "timestamp"}


def spec(**changes: Any) -> AggregationSpec:
    return AggregationSpec.model_validate(PLAIN | changes)


@pytest.mark.parametrize(
    ("statistic", "kind"),
    [(statistic.name, statistic.name) for statistic in all_statistics() if not statistic.pattern]
    + [(name, "pNN") for name in ("p0", "p1", "p50", "p99.9", "p99.999999", "p100", "p100.0")]
    + [(name, "topN") for name in ("top1", "top5", "top9999")],
)
def test_a_statistic_is_of_a_family(statistic: str, kind: str) -> None:
    found = statistic_of(statistic)
    assert found is not None and found.name == kind


UNKNOWN = ["", "median", "pNN", "topN", "MEAN", " mean", "mean ", "p50\n"]
NO_PERCENTILE = ["p", "p101", "p100.1", "p-1", "p5e1", "p50.", "p.5"]
NO_TOP = ["top", "top0", "top05", "top10000", "top-1", "top1.5"]


@pytest.mark.parametrize("statistic", UNKNOWN + NO_PERCENTILE + NO_TOP)
def test_an_unknown_statistic_is_refused_by_name(statistic: str) -> None:
    with pytest.raises(ValueError, match=r"must be one of count, .*, topN, is "):
        family_of(statistic)


def test_the_output_columns_are_named_after_column_and_statistic() -> None:
    figures = spec(statistics={"x": ["mean", "p99.9"], "k": "top5"}).figures
    assert figures == {"x_mean": ("x", "mean"), "x_p99_9": ("x", "p99.9"), "k_top5": ("k", "top5")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "at least 1 character"),
        ({"statistics": {"x": []}}, "at least 1 item"),
        ({"statistics": {"x": ["mean", "mean"]}}, "must name each statistic once"),
        ({"statistics": {"x": ["avg"]}}, "must be one of count"),
        ({"allowed_lateness": "-1s"}, "must be a duration"),
        ({"window": {"size": "7m", "every": "2m"}}, "window.every must divide window.size"),
        ({"keys": ["k"]}, "Extra inputs"),
    ],
)
def test_what_an_aggregation_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        spec(**changes)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"key": ["gone"]}, ("key", 0), "there is no column gone; there are k, x, n, b, t"),
        ({"key": ["k", "x"]}, ("key", 1), "x is float64, which cannot be a key"),
        ({"key": ["k", "k"]}, ("key", 1), "k is there twice"),
        ({"statistics": {"gone": "count"}}, ("statistics", "gone"), "there is no column gone"),
        ({"statistics": {"k": "mean"}}, ("statistics", "k"), "mean needs numbers, and k is a string"),
        ({"statistics": {"t": "p50"}}, ("statistics", "t"), "p50 needs numbers, and t is a timestamp"),
    ],
)
def test_what_does_not_fit_the_columns_is_told_with_its_place(
    changes: dict[str, Any], place: tuple[str | int, ...], words: str
) -> None:
    found = spec(**changes).problems(COLUMNS)
    assert [where for where, _ in found] == [place]
    assert words in found[0][1]


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    found = spec(key=["gone", "x"], statistics={"k": ["mean", "p5"], "lost": "count"}).problems(COLUMNS)
    assert len(found) == 5


@pytest.mark.parametrize("key", ["rows", "final", "revision", "window_start", "window_end", "x_mean"])
def test_a_key_named_like_a_column_of_the_table_is_refused(key: str) -> None:
    found = spec(key=[key], statistics={"x": "mean"}).problems({"x": "float64", key: "string"})
    assert found == [(("name",), f"table a would have two columns named {key}")]


def test_what_fits_has_no_problems() -> None:
    statistics = {"x": ["mean", "p50"], "b": ["sum", "p50"], "t": ["min", "first", "distinct"], "k": ["max", "top3"]}
    assert spec(key=["k", "n", "t", "b"], statistics=statistics).problems(COLUMNS) == []
    assert spec(key="k").key == ("k",)
