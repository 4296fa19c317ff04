"""Every accumulator keeps the laws of mergeable state, for every type of column and for hostile values."""

import random
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import laws
from tests.laws import Figure, Subject, magnitudes
from transforms.aggregation.family import families
from transforms.aggregation.measure import ColumnMeasure, accumulator
from transforms.aggregation.summary import Summary
from transforms.record.batch import ARROW
from transforms.specification import ColumnType
from transforms.time.event_time import EARLIEST, LATEST

TINY: Final = 5e-324

VALUES: Final[Mapping[ColumnType, list[st.SearchStrategy[Any]]]] = {
    "float64": [
        st.floats(-1e6, 1e6),
        st.floats(1e8 - 1, 1e8 + 1),
        st.floats(-1e300, 1e300),
        st.sampled_from([0.0, -0.0, TINY, -TINY, 2e-308, 1.0, -1.0]),
        st.sampled_from([1e300, -1e300, 1.0, 1e-300, 0.0]),
        st.sampled_from([0.1, 0.1 + 1e-16, 0.3, -7.5]),
    ],
    "int64": [st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**63 - 1, -(2**63), 0])],
    "bool": [st.booleans()],
    "string": [st.text(max_size=3), st.sampled_from(["", "a", "A", "ä", "𝄞", "\ue000", " "])],
    "timestamp": [st.integers(EARLIEST, LATEST - 1), st.integers(-2, 2)],
}


def subject(family: str, kind: ColumnType) -> Subject:
    measure = ColumnMeasure("x", family, accumulator(family, kind))

    def figures(summary: Summary, partial: pa.RecordBatch, rows: pa.RecordBatch) -> dict[str, Figure]:
        state = summary.state(partial, measure)
        answers = {name: measure.accumulator.finish(state, name).to_pylist() for name in families()[family].samples}
        sizes = magnitudes(summary, partial, rows, "x") if family == "moments" else []
        return {name: Figure(values, slack(name, values, sizes)) for name, values in answers.items()}

    def slack(statistic: str, values: list[Any], sizes: list[float]) -> list[float] | None:
        # No mean is promised better than a sum: both are relative to the absolute values.
        if statistic in ("sum", "mean"):
            return [laws.RELATIVE * size + TINY * 100 for size in sizes]
        if statistic == "var":
            return [laws.RELATIVE * (value or 0.0) + laws.UNDERFLOW for value in values]
        if statistic == "std":
            return [laws.RELATIVE * (value or 0.0) + float(np.sqrt(laws.UNDERFLOW)) for value in values]
        return None

    regimes = [st.tuples(st.none() | values) for values in VALUES[kind]] + [st.just((None,))]
    return Subject(f"{family} of {kind}", measure, {"x": ARROW[kind]}, regimes, figures)


SUBJECTS: Final = [
    subject(family, kind) for family in families() for kind in VALUES if kind in families()[family].takes
]
every_accumulator = pytest.mark.parametrize("subject", SUBJECTS, ids=str)
a_few = settings(max_examples=6, deadline=None)


@every_accumulator
@a_few
@given(data=st.data())
def test_the_state_of_no_rows_is_neutral(subject: Subject, data: st.DataObject) -> None:
    laws.assert_no_rows_are_neutral(subject, data.draw(laws.rows_of(subject)))


@every_accumulator
@a_few
@given(data=st.data())
def test_merging_commutes_and_associates(subject: Subject, data: st.DataObject) -> None:
    rows = data.draw(laws.rows_of(subject))
    laws.assert_merging_commutes(subject, rows)
    laws.assert_merging_associates(subject, rows)


@every_accumulator
@settings(max_examples=15, deadline=None)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_any_split_in_any_order_gives_the_one_pass_answer(
    subject: Subject, data: st.DataObject, chance: random.Random
) -> None:
    rows = data.draw(laws.rows_of(subject))
    laws.assert_any_split_gives_the_one_pass_answer(subject, rows, chance)
    laws.assert_order_does_not_show(subject, rows, chance)


@every_accumulator
@a_few
@given(data=st.data())
def test_a_state_survives_encoding(subject: Subject, data: st.DataObject) -> None:
    laws.assert_state_survives_encoding(subject, data.draw(laws.rows_of(subject)))


@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.columns["x"] == pa.float64()], ids=str)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), offset=st.sampled_from([0.0, 1e8, -1e8]))
def test_thousands_of_rows_give_the_same_in_every_split(subject: Subject, seed: int, offset: float) -> None:
    numbers, chance = np.random.default_rng(seed), random.Random(seed)
    size = 20_000
    values = numbers.normal(offset, 1.0, size).round(3)
    rows = laws.batch(
        subject,
        [("a", "b", None)[i] for i in numbers.integers(0, 3, size)],
        numbers.integers(0, 2 * 3_600_000_000, size),
        [pa.array(values, mask=numbers.random(size) < 0.1)],
    )
    laws.assert_any_split_gives_the_one_pass_answer(subject, rows, chance)
    laws.assert_order_does_not_show(subject, rows, chance)
