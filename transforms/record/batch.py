"""The element: a `pyarrow.RecordBatch`, what travels beside the user's columns, and how Beam encodes it.

A PCollection of this package carries batches, never rows. Three columns of ours may stand beside the
user's: the position of each record in its source, its event time, and, where a later step may still
refuse it, its original bytes. Where the batch comes from stands in the schema's metadata.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy.typing as npt
import pyarrow as pa

from transforms.specification import ColumnType

POSITION: Final = "@position"
EVENT_TIME: Final = "@event_time"
PAYLOAD: Final = "@payload"
RANGE: Final = "@range"
"""The first position of the range that a record's ledger row covers, where a batch spans several."""
WATERMARK: Final = "@watermark"
"""Where the watermark stood (µs) when the record came, where records can be late."""
LATE: Final = "@late"
"""For which aggregations a record is late: bit n for the nth."""
ARROW: Final[Mapping[ColumnType, pa.DataType]] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}
"""The Arrow type of every column type."""
RESERVED: Final = frozenset({POSITION, EVENT_TIME, PAYLOAD, RANGE, WATERMARK, LATE})
_ORIGIN: Final = b"streamgauge.origin"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the records of a batch come from.

    `source` names the file, log or partition; `ordinal` is its place in arrival order; `first_position`
    is the start of the range that the batch belongs to, which is the key of its ledger row.
    """

    source: str = ""
    ordinal: int = 0
    first_position: int = 0


def with_origin(batch: pa.RecordBatch, origin: Origin) -> pa.RecordBatch:
    """The batch, its origin written into the schema's metadata."""
    return batch.replace_schema_metadata({_ORIGIN: json.dumps(asdict(origin)).encode()})


def origin_of(batch: pa.RecordBatch) -> Origin:
    """The batch's origin; a batch that somebody built by hand has an unnamed one."""
    written = (batch.schema.metadata or {}).get(_ORIGIN)
    return Origin(**json.loads(written)) if written else Origin()


def one_batch(batches: Sequence[pa.RecordBatch] | pa.Table, schema: pa.Schema | None = None) -> pa.RecordBatch:
    """Joins batches of one schema into a single one; `schema` is needed when there may be none."""
    if isinstance(batches, pa.Table):
        batches = batches.to_batches() or [empty(batches.schema)]
    if not batches:
        if schema is None:
            raise ValueError("schema must be given where there may be no batch")
        return empty(schema)
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """A batch of no rows."""
    return pa.record_batch([pa.nulls(0, field.type) for field in schema], schema=schema)


def filled(values: pa.Array) -> npt.NDArray[Any]:
    """A column of numbers, booleans or times as numpy, 0 where it is null; without a copy where nothing is."""
    if values.null_count:
        values = values.fill_null(False if pa.types.is_boolean(values.type) else 0)
    numbers: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return numbers


def set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """The batch with column `name` replaced, or appended where there was none; metadata is kept."""
    index = batch.schema.get_field_index(name)
    field = pa.field(name, values.type)
    changed = batch.append_column(field, values) if index < 0 else batch.set_column(index, field, values)
    return changed.replace_schema_metadata(batch.schema.metadata)
