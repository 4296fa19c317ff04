"""Dead letters: records that could not be counted, kept with their original bytes and the reason.

A dead letter is a row of the table `dead_letters`, keyed by (source, position, stage). No content of a record can stop
a job: a bad record becomes a dead letter instead, and `replay` can bring it back.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import pyarrow as pa

REASONS: Final[dict[str, str]] = {
    "invalid_utf8": "the bytes are not UTF-8",
    "malformed": "not one record of the format: broken JSON, a wrong number of CSV fields, an empty line",
    "too_long": "longer than `record.max_line`",
    "wrong_type": "a value cannot become the column's type without loss",
    "missing_field": "a column that may not be null is absent or null",
    "unknown_field": "a field that `record.columns` does not name, with `unknown_fields: dead_letter`",
    "out_of_range": "NaN, an infinity, an overflow, or a character (U+0000) that no SQL text can hold",
    "bad_event_time": "the event time is not a date, or is outside the years 2 to 9997",
    "expression_failed": "a `derive` or `filter` expression failed on this record",
    "apply_failed": "the function of an `apply` step failed on this record",
    "future": "the event time is further ahead of the receive time than `record.max_future`",
    "late": "its window was closed before the record arrived",
}
"""Every reason and its meaning. The list is closed: tables, reports and alerts depend on it."""

PARSE: Final = "parse"

SCHEMA: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("payload", pa.binary()),
        pa.field("event_time", pa.timestamp("us", "UTC")),
        pa.field("attempts", pa.int64(), nullable=False),
        pa.field("failed_at", pa.timestamp("us", "UTC")),
    ]
)
KEY: Final = ("source", "position", "stage")

Payloads: TypeAlias = Sequence[bytes | None] | pa.BinaryArray
"""Original bytes, one each."""


def dead_letters(
    source: str,
    stage: str,
    *,
    positions: Sequence[int],
    reasons: Sequence[str],
    details: Sequence[str],
    payloads: Payloads,
    event_times: Sequence[int | None] | None = None,
) -> pa.RecordBatch:
    """Dead letters of one stage as a batch of SCHEMA.

    Args:
        positions: the position of each record in its source.
        payloads: the original bytes, one each.
        event_times: µs since the epoch where known.

    `attempts` is 1 and `failed_at` null: the sink sets both when it stores the letters, because a kernel has no
    clock and does not know what was replayed.
    """
    size = len(positions)
    return pa.record_batch(
        [
            pa.array([source] * size, pa.string()),
            pa.array(positions, pa.int64()),
            pa.array([stage] * size, pa.string()),
            pa.array(reasons, pa.string()),
            pa.array(details, pa.string()),
            payloads if isinstance(payloads, pa.BinaryArray) else pa.array(payloads, pa.binary()),
            pa.array(event_times or [None] * size, pa.int64()).cast(pa.timestamp("us", "UTC")),
            pa.array([1] * size, pa.int64()),
            pa.nulls(size, pa.timestamp("us", "UTC")),
        ],
        schema=SCHEMA,
    )


def shown(value: object, limit: int = 60) -> str:
    """A value as a detail quotes it: short, on one line, and valid UTF-8."""
    text = repr(value)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
