"""The ledger: entries that add up, whatever order they come in."""

import random

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.record.ledger import COUNTS, KEY, SCHEMA, divide, entry, imbalance, merge, totals

ENTRIES = st.lists(
    st.builds(
        lambda source, first, counts: entry(source, first, **counts),
        st.sampled_from(["a.csv", "ä/b.csv", ""]),
        st.sampled_from([0, 5, 2**62]),
        st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 10**12)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ENTRIES, st.integers(0, 12), st.randoms(use_true_random=False))
def test_merging_adds_up_each_range_in_any_order_and_grouping(
    entries: list[pa.RecordBatch], cut: int, chance: random.Random
) -> None:
    merged = merge(entries)
    shuffled = chance.sample(entries, len(entries))
    assert merge([merge(shuffled[:cut]), merge(shuffled[cut:])]) == merged
    assert merged.schema == SCHEMA
    frame = pd.DataFrame([row for one in entries for row in one.to_pylist()], columns=SCHEMA.names)
    want = frame.groupby(list(KEY), as_index=False)[list(COUNTS)].sum()
    assert merged.to_pylist() == want.to_dict("records")
    assert totals(merged) == {name: int(frame[name].sum()) for name in COUNTS}


def test_no_entries_are_an_empty_ledger_that_closes() -> None:
    empty = merge([])
    assert (empty.num_rows, empty.schema) == (0, SCHEMA)
    assert totals(empty) == dict.fromkeys(COUNTS, 0)
    assert imbalance(totals(empty)) == 0


def test_a_ledger_closes_when_every_record_read_is_accounted_for() -> None:
    counts = totals(entry("a", 0, read=15, accepted=5, dead=4, filtered=3, duplicate=2, late=1, partly_late=5))
    assert imbalance(counts) == 0
    assert imbalance(counts | {"read": 16}) == 1
    assert imbalance(counts | {"partly_late": 99}) == 0
    assert imbalance(totals(pa.Table.from_batches([entry("a", 0, accepted=2)]))) == -2


def test_an_unknown_count_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"a ledger has the counts read, .*, not lost"):
        entry("a.csv", 0, read=1, lost=1)


def test_a_ledger_divides_into_what_is_done_and_the_last_row_of_each_source() -> None:
    rows = [("a", 0), ("a", 10), ("b", 5), ("c", 0), ("c", 7), ("c", 9)]
    for count in range(len(rows) + 1):
        whole = merge([entry(source, first, read=1, accepted=1) for source, first in rows[:count]])
        done, growing = divide(whole)
        assert merge([done, growing]) == whole
        assert growing["source"].to_pylist() == sorted({source for source, _ in rows[:count]})
        latest = dict(rows[:count])
        assert growing["first_position"].to_pylist() == list(latest.values())
