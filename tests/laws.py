"""The laws of mergeable state, which every accumulator and every model must keep.

The state of no rows is neutral; merging commutes and associates; any split of the rows, merged in any order,
gives the one-pass answer; the order of the rows does not show; a state survives encoding.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from transforms.aggregation.measure import Measure
from transforms.aggregation.summary import Summary, key_column
from transforms.record.batch import EVENT_TIME, POSITION
from transforms.record.coder import RecordBatchCoder
from transforms.specification import microseconds
from transforms.time.event_time import TIMESTAMP
from transforms.time.window import SLICE
from transforms.time.windows.sized import Sized

KEY = "k"
SLICE_LENGTH = timedelta(hours=1)
RELATIVE = 1e-12
"""The promise: floats agree within this share, sums within this share of the sum of absolute values."""
UNDERFLOW = 1e-300
"""Squares below this have lost digits to underflow; nobody is promised those."""


@dataclass(frozen=True)
class Figure:
    """What one statistic answers for each group, and by how much each answer may differ: None is not at all."""

    values: Sequence[Any]
    slack: Sequence[float] | None = None


@dataclass(frozen=True)
class Subject:
    """Something that is measured and merged, the values to try it on, and the figures to read off it.

    `regimes` are strategies of one row's values, a tuple in the order of `columns`; one example draws from one.
    """

    name: str
    measure: Measure
    columns: Mapping[str, pa.DataType]
    regimes: Sequence[st.SearchStrategy[tuple[Any, ...]]]
    figures: Callable[[Summary, pa.RecordBatch, pa.RecordBatch], Mapping[str, Figure]]

    @property
    def summary(self) -> Summary:
        return Summary({KEY: pa.string()}, Sized(size=SLICE_LENGTH), [self.measure])

    def __str__(self) -> str:
        return self.name


@st.composite
def rows_of(draw: st.DrawFn, subject: Subject, max_size: int = 30) -> pa.RecordBatch:
    """A batch of rows over a few keys, null among them, and a few slices on both sides of the epoch."""
    size = draw(st.integers(1, max_size))
    regime = draw(st.sampled_from(subject.regimes))
    hours = st.integers(-2 * microseconds(SLICE_LENGTH), 2 * microseconds(SLICE_LENGTH))
    rows = draw(st.lists(st.tuples(st.sampled_from(["a", None]), hours, regime), min_size=size, max_size=size))
    return batch(
        subject,
        [key for key, _, _ in rows],
        [time for _, time, _ in rows],
        [[values[i] for _, _, values in rows] for i in range(len(subject.columns))],
    )


def batch(subject: Subject, keys: Sequence[Any], times: Any, columns: Sequence[Any]) -> pa.RecordBatch:
    """A batch whose positions are 0, 1, 2 …"""
    named = {
        name: pa.array(values, kind) for (name, kind), values in zip(subject.columns.items(), columns, strict=True)
    }
    return pa.record_batch(
        {
            KEY: pa.array(keys, pa.string()),
            **named,
            EVENT_TIME: pa.array(times, pa.int64()).cast(TIMESTAMP),
            POSITION: pa.array(np.arange(len(keys))),
        }
    )


def merged_at_random(summary: Summary, partials: Sequence[pa.RecordBatch], chance: random.Random) -> pa.RecordBatch:
    """Merges partials by a tree of random shape: two or more, picked from anywhere, at a time."""
    waiting = list(partials)
    while len(waiting) > 1:
        chance.shuffle(waiting)
        arity = chance.randint(2, min(4, len(waiting)))
        waiting = [*waiting[arity:], summary.merge(waiting[:arity])]
    return waiting[0]


def split_at_random(rows: pa.RecordBatch, chance: random.Random) -> list[pa.RecordBatch]:
    """Deals the rows into batches, each keeping their order; some batches may be empty."""
    pieces = chance.randint(1, 6)
    dealt = np.array([chance.randrange(pieces) for _ in range(rows.num_rows)])
    return [rows.take(pa.array(np.flatnonzero(dealt == piece))) for piece in range(pieces)]


def assert_no_rows_are_neutral(subject: Subject, rows: pa.RecordBatch) -> None:
    """The state of no rows, and of rows without a value, adds nothing to a figure."""
    summary = subject.summary
    partial, nothing = summary.summarize(rows), summary.summarize(rows.slice(0, 0))
    assert_agree(subject, summary.merge([nothing, partial, nothing]), partial, rows)
    assert summary.merge([nothing, nothing]).num_rows == 0


def assert_merging_commutes(subject: Subject, rows: pa.RecordBatch) -> None:
    summary = subject.summary
    half = rows.num_rows // 2
    left, right = summary.summarize(rows.slice(0, half)), summary.summarize(rows.slice(half))
    assert_agree(subject, summary.merge([left, right]), summary.merge([right, left]), rows)


def assert_merging_associates(subject: Subject, rows: pa.RecordBatch) -> None:
    summary = subject.summary
    third = rows.num_rows // 3
    a, b, c = map(summary.summarize, (rows.slice(0, third), rows.slice(third, third), rows.slice(2 * third)))
    left = summary.merge([summary.merge([a, b]), c])
    right = summary.merge([a, summary.merge([b, c])])
    assert_agree(subject, left, right, rows)


def assert_any_split_gives_the_one_pass_answer(subject: Subject, rows: pa.RecordBatch, chance: random.Random) -> None:
    summary = subject.summary
    partials = [summary.summarize(piece) for piece in split_at_random(rows, chance)]
    assert_agree(subject, merged_at_random(summary, partials, chance), summary.summarize(rows), rows)


def assert_order_does_not_show(subject: Subject, rows: pa.RecordBatch, chance: random.Random) -> None:
    """Rows in another order, numbered anew, give the same; their event times are made to differ."""
    times = rows[EVENT_TIME].cast(pa.int64()).to_numpy() // 100 * 100 + np.arange(rows.num_rows)
    rows = rows.set_column(rows.schema.get_field_index(EVENT_TIME), EVENT_TIME, pa.array(times).cast(TIMESTAMP))
    shuffled = rows.take(pa.array(chance.sample(range(rows.num_rows), rows.num_rows), pa.int64()))
    place = shuffled.schema.get_field_index(POSITION)
    shuffled = shuffled.set_column(place, POSITION, pa.array(np.arange(rows.num_rows)))
    assert_agree(subject, subject.summary.summarize(shuffled), subject.summary.summarize(rows), rows)


def assert_state_survives_encoding(subject: Subject, rows: pa.RecordBatch) -> None:
    summary, coder = subject.summary, RecordBatchCoder()
    half = rows.num_rows // 2
    partials = [summary.summarize(part) for part in (rows.slice(0, half), rows.slice(half))]
    decoded = [coder.decode(coder.encode(partial)) for partial in partials]
    assert [coder.encode(partial) for partial in decoded] == [coder.encode(partial) for partial in partials]
    assert [part.schema for part in decoded] == [summary.schema] * 2
    assert_agree(subject, summary.merge(decoded), summary.merge(partials), rows)


def assert_agree(subject: Subject, left: pa.RecordBatch, right: pa.RecordBatch, rows: pa.RecordBatch) -> None:
    """Both partials of `rows` know the same groups and answer the same."""
    summary = subject.summary
    left, right = in_order(left), in_order(right)
    for name in (SLICE, key_column(KEY), "rows"):
        assert left[name].to_pylist() == right[name].to_pylist()
    ours, theirs = (subject.figures(summary, partial, rows) for partial in (left, right))
    for name, figure in theirs.items():
        for place, (one, other) in enumerate(zip(ours[name].values, figure.values, strict=True)):
            slack = None if figure.slack is None else figure.slack[place]
            assert is_same(one, other, slack), f"{subject} {name}: {one!r} is not {other!r} within {slack}"


def is_same(one: Any, other: Any, slack: float | None) -> bool:
    if slack is None or one is None or other is None:
        return bool(one == other)
    return math.isfinite(one) and math.isfinite(other) and abs(one - other) <= slack


def in_order(partial: pa.RecordBatch) -> pa.RecordBatch:
    return partial.sort_by([(SLICE, "ascending"), (key_column(KEY), "ascending")])


def magnitudes(summary: Summary, partial: pa.RecordBatch, rows: pa.RecordBatch, column: str) -> list[float]:
    """The sum of absolute values of a column in each group of a partial."""
    sums: dict[tuple[int, str | None], float] = {}
    slices = summary.window.slices(rows[EVENT_TIME]).tolist()
    for group in zip(slices, rows[KEY].to_pylist(), rows[column].to_pylist(), strict=True):
        sums[group[:2]] = sums.get(group[:2], 0.0) + abs(float(group[2] or 0))
    return [sums[group] for group in zip(partial[SLICE].to_pylist(), partial[key_column(KEY)].to_pylist(), strict=True)]
