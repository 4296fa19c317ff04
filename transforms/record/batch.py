"""The element: a `pyarrow.RecordBatch`, the columns added to the user's, and its origin.

A PCollection of this package holds batches, never rows. A batch may have three columns in addition to the user's: the
position of each record in its source, its event time, and, where a later step may still refuse the record, its
original bytes. The schema's metadata holds the origin of the batch.
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
"""The first position of the range that a record's ledger row covers, if a batch spans several ranges."""
WATERMARK: Final = "@watermark"
"""The watermark (µs) when the record arrived, where records can be late."""
LATE: Final = "@late"
"""The aggregations for which a record is late: bit n for the nth."""
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
    """The origin of the records of a batch.

    `source` names the file, log or partition; `ordinal` is its place in arrival order; `first_position` is the start
    of the batch's range, which is the key of its ledger row.
    """

    source: str = ""
    ordinal: int = 0
    first_position: int = 0


def with_origin(batch: pa.RecordBatch, origin: Origin) -> pa.RecordBatch:
    """The batch with its origin in the schema's metadata."""
    return batch.replace_schema_metadata({_ORIGIN: json.dumps(asdict(origin)).encode()})


def origin_of(batch: pa.RecordBatch) -> Origin:
    """The batch's origin; unnamed for a batch that was built by hand."""
    written = (batch.schema.metadata or {}).get(_ORIGIN)
    return Origin(**json.loads(written)) if written else Origin()


def one_batch(batches: Sequence[pa.RecordBatch] | pa.Table, schema: pa.Schema | None = None) -> pa.RecordBatch:
    """Joins batches of one schema into a single one; `schema` is required if there may be no batch."""
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
    """A column of numbers, booleans or times as numpy, 0 where it is null; without a copy if nothing is null."""
    if values.null_count:
        values = values.fill_null(False if pa.types.is_boolean(values.type) else 0)
    numbers: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return numbers


def set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """The batch with column `name` replaced, or appended if it did not exist; metadata is kept."""
    index = batch.schema.get_field_index(name)
    field = pa.field(name, values.type)
    changed = batch.append_column(field, values) if index < 0 else batch.set_column(index, field, values)
    return changed.replace_schema_metadata(batch.schema.metadata)
