"""Measures: which accumulator is behind which figure."""

import pytest

from transforms.aggregation.measure import accumulator, column_measures, distinct_measures
from transforms.aggregation.spec import AggregationSpec
from transforms.aggregation.statistics.moments import Moments
from transforms.aggregation.statistics.presence import Presence
from transforms.record.batch import ARROW
from transforms.specification import ColumnType

COLUMNS: dict[str, ColumnType] = {"x": "float64", "k": "string"}


def spec(**statistics: list[str]) -> AggregationSpec:
    return AggregationSpec.model_validate({"name": "a", "window": {"size": "1d"}, "statistics": statistics})


def test_figures_of_one_family_share_their_state() -> None:
    chosen = column_measures(
        spec(x=["mean", "std", "count", "p50", "p99", "min", "max"], k=["count", "missing"]), COLUMNS
    )
    assert chosen["x_mean"] is chosen["x_std"] is chosen["x_count"]
    assert chosen["x_p50"] is chosen["x_p99"]
    assert [measure.name for measure in distinct_measures(chosen.values())] == [
        "x|moments",
        "x|quantiles",
        "x|extremes",
        "k|presence",
    ]


def test_counting_alone_keeps_no_moments() -> None:
    assert isinstance(column_measures(spec(x=["count", "missing"]), COLUMNS)["x_count"].accumulator, Presence)
    assert isinstance(column_measures(spec(x=["count", "sum"]), COLUMNS)["x_count"].accumulator, Moments)


@pytest.mark.parametrize("kind", ARROW)
@pytest.mark.parametrize("name", ["presence", "extremes", "endpoints", "distinct", "frequent"])
def test_every_type_has_the_families_that_need_no_numbers(name: str, kind: ColumnType) -> None:
    assert len(accumulator(name, kind).schema) > 0


def test_moments_of_text_are_refused() -> None:
    with pytest.raises(ValueError, match="moments need numbers, not string"):
        accumulator("moments", "string")
    with pytest.raises(ValueError, match="there is no family of statistics named median"):
        accumulator("median", "float64")
