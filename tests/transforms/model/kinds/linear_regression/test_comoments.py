"""Co-moments against exact fractions and numpy's covariances."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.aggregation.accumulator import State
from transforms.aggregation.groups import Groups, group
from transforms.model.kinds.linear_regression.comoments import CoMoments


def together(rows: int) -> Groups:
    return group({"all": pa.array(np.zeros(rows, np.int64))})


def measured(columns: list[pa.Array], parts: int) -> State:
    """The co-moments of all rows, measured in that many parts."""
    moments = CoMoments(len(columns))
    groups = group({"part": pa.array(np.arange(len(columns[0])) % parts)})
    return moments.merge(moments.measure(columns, groups), together(len(groups)))


@settings(max_examples=60, deadline=None)
@given(
    offset=st.sampled_from([0.0, 1e6, 1e8, -1e12]),
    rows=st.lists(st.tuples(*[st.floats(-10, 10)] * 3), min_size=1, max_size=25),
    parts=st.integers(1, 8),
)
def test_any_parts_give_the_exact_products(offset: float, rows: list[tuple[float, ...]], parts: int) -> None:
    columns = np.array(rows).T + offset
    n, weight, pivot, delta, factor = CoMoments(3).arrays(measured([pa.array(c) for c in columns], parts))
    exact = [[Fraction(value) for value in column] for column in columns.tolist()]
    means = [sum(column, Fraction()) / len(rows) for column in exact]
    centred = [[value - mean for value in column] for column, mean in zip(exact, means, strict=True)]
    full = CoMoments(3).products(factor)[0]
    assert (n[0], weight[0]) == (len(rows), len(rows))
    for i in range(3):
        error = abs(Fraction(pivot[0, i]) + Fraction(delta[0, i]) - means[i])
        assert error <= 1e-14 * (max(map(abs, centred[i])) + 1)  # of the spread, whatever the offset
        for j in range(3):
            want = float(sum(a * b for a, b in zip(centred[i], centred[j], strict=True)))
            size = float(sum(a * a for a in centred[i])) ** 0.5 * float(sum(b * b for b in centred[j])) ** 0.5
            assert full[i, j] == pytest.approx(want, abs=1e-12 * size + 1e-300)


def test_covariances_are_those_of_numpy() -> None:
    chance = np.random.default_rng(2)
    columns = chance.multivariate_normal([1e6, -3.0, 0.0], [[2, 1, 0], [1, 3, -1], [0, -1, 1]], 5_000).T
    n, _, _, _, factor = CoMoments(3).arrays(measured([pa.array(c) for c in columns], 17))
    assert CoMoments(3).products(factor)[0] / (n[0] - 1) == pytest.approx(np.cov(columns), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("parts", [1, 3, 50])
def test_a_row_counts_where_every_column_is_there(parts: int) -> None:
    chance = np.random.default_rng(3)
    frame = pd.DataFrame(chance.normal(0, 1, (50, 3)), columns=list("abc"))
    frame = frame.mask(chance.random(frame.shape) < 0.3)
    whole = frame.dropna()
    n, _, pivot, delta, factor = CoMoments(3).arrays(
        measured([pa.array(frame[name], from_pandas=True) for name in frame], parts)
    )
    assert n[0] == len(whole)
    assert (pivot + delta)[0] == pytest.approx(whole.mean().to_numpy(), rel=1e-12)
    assert CoMoments(3).products(factor)[0] == pytest.approx(whole.cov().to_numpy() * (n[0] - 1), rel=1e-12)


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, -1e300])
@pytest.mark.parametrize("parts", [1, 7])
def test_a_constant_column_has_no_spread_at_all(value: float, parts: int) -> None:
    column = pa.array([value] * 23)
    _, _, _, _, factor = CoMoments(2).arrays(measured([column, pa.array(np.arange(23.0))], parts))
    assert CoMoments(2).products(factor)[0, 0].tolist() == [0.0, 0.0]


def test_booleans_and_integers_count_as_numbers() -> None:
    flags, numbers = [True, False, None, True], [3, 4, 5, -(2**40)]
    state = measured([pa.array(flags), pa.array(numbers, pa.int64())], 2)
    n, _, pivot, delta, _ = CoMoments(2).arrays(state)
    assert n[0] == 3
    assert (pivot + delta)[0] == pytest.approx([2 / 3, (7 - 2**40) / 3])


def test_arrays_and_state_are_inverse() -> None:
    moments = CoMoments(2)
    state = measured([pa.array([1.0, 2.0, 4.0]), pa.array([1.0, 0.0, 1.0])], 1)
    again = moments.state(*moments.arrays(state))
    assert {name: values.to_pylist() for name, values in again.items()} == {
        name: values.to_pylist() for name, values in state.items()
    }
    assert [state[field.name].type for field in moments.schema] == [field.type for field in moments.schema]
