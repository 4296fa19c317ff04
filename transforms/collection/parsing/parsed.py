"""From converted columns to a batch: rows that lack a value are refused, and refused rows become dead letters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from transforms.collection.parsing.values import Refusals, Why, event_times, missing
from transforms.collection.spec import Column, EventTimeSpec
from transforms.record.arrays import Ints, Longs
from transforms.record.batch import ARROW, EVENT_TIME, PAYLOAD, POSITION, Origin, with_origin
from transforms.record.dead_letter import PARSE, Payloads, dead_letters

Values = Mapping[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns that a job reads and its event time: `RecordSpec`, with the columns known."""

    columns: Mapping[str, Column]
    event_time: EventTimeSpec
    strict: bool = False
    max_line: int = 1 << 20

    def arrow(self) -> pa.Schema:
        """The columns as Arrow fields."""
        return pa.schema([pa.field(name, ARROW[column.type]) for name, column in self.columns.items()])


class Rows(NamedTuple):
    """The columns of records, and the indices of these records in their block; None: all."""

    values: Values
    places: Ints | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """The contents of a part of a source: good records, dead letters, and the number of records read."""

    batch: pa.RecordBatch
    dead: pa.RecordBatch
    read: int


def conform(
    schema: Schema,
    rows: Rows,
    refused: Refusals,
    *,
    positions: Longs,
    originals: Callable[[Sequence[int]], Payloads],
    carried: Callable[[], pa.Array] | None,
    origin: Origin,
) -> Parsed:
    """Makes a batch of the good rows, and dead letters of the others.

    Args:
        rows: the columns, with the types in `schema`. Records without a row are all refused.
        refused: records that are already refused; the first reason found for a record counts.
        positions: the positions of all records.
        originals: returns the original bytes of some records, for dead letters.
        carried: what batches carry along for all records, for steps that may still refuse them; None: nothing.
    """
    refused = dict(refused)
    values, places = rows
    good = np.ones(len(positions), np.bool_)
    good[list(refused)] = False
    kept = positions
    if places is not None:
        good, kept = good[places], positions[places]

    def refuse(row: int, why: Why) -> None:
        refused.setdefault(row if places is None else int(places[row]), why)
        good[row] = False

    columns = {name: values[name] for name in schema.columns}
    for name, column in schema.columns.items():
        if not column.nullable and values[name].null_count:
            for row in np.flatnonzero(good & values[name].is_null().to_numpy(zero_copy_only=False)).tolist():
                refuse(row, missing(name, column.type))
            columns[name] = _without_nulls(values[name])
    times = values[schema.event_time.column]
    if times.null_count:
        times = times.fill_null(0)
    converted = event_times(times, schema.event_time.unit, schema.event_time.column)
    for row, why in converted.refused.items():
        refuse(row, why)
    columns[POSITION] = pa.array(kept)
    columns[EVENT_TIME] = converted.values
    if carried is not None:
        columns[PAYLOAD] = carried() if places is None else carried().take(pa.array(places))
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    if not good.all():
        batch = batch.filter(pa.array(good))
    return Parsed(with_origin(batch, origin), _letters(refused, positions, originals, origin), len(positions))


def _letters(
    refused: Refusals, positions: Longs, originals: Callable[[Sequence[int]], Payloads], origin: Origin
) -> pa.RecordBatch:
    """The dead letters of refused records."""
    records = sorted(refused)
    return dead_letters(
        origin.source,
        PARSE,
        positions=positions[records].tolist(),
        reasons=[refused[record][0] for record in records],
        details=[refused[record][1] for record in records],
        payloads=originals(records),
    )


def _without_nulls(values: pa.Array) -> pa.Array:
    """The column without its validity bitmap, for null rows whose values are not used; it filters twice as fast."""
    return pa.Array.from_buffers(values.type, len(values), [None, *values.buffers()[1:]], offset=values.offset)


def as_event_time(why: Why, name: str, schema: Schema) -> Why:
    """The refusal of a value; an invalid event time has a separate reason."""
    is_time = name == schema.event_time.column and schema.columns[name].type == "timestamp"
    return ("bad_event_time", why[1]) if is_time else why
