"""Records from the future: an event time too far after the record's receipt is a mistake.

The watermark follows event times, so one record with a time of next year would make every later record late.
"""

from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from transforms.record.batch import EVENT_TIME, PAYLOAD, empty
from transforms.record.dead_letter import PARSE, SCHEMA, dead_letters
from transforms.specification import format_duration, microseconds
from transforms.time.event_time import Instants, as_instants

REASON: Final = "future"


def without_future(
    batch: pa.RecordBatch,
    ahead: Instants,
    most: timedelta,
    *,
    source: str,
    positions: Instants,
    column: str,
    receipt: str,
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The batch without records whose event time is too far after their receipt, and those records as dead letters.

    Args:
        batch: records with EVENT_TIME and PAYLOAD.
        ahead: by how much (µs) each event time is after the receipt.
        most: how much is allowed: `record.max_future`.
        source: the records' source in the ledger.
        positions: each record's position in it.
        column: the column of the event time, for the messages.
        receipt: what the event times are compared with, in words.
    """
    is_future = ahead > microseconds(most)
    rows = np.flatnonzero(is_future)
    if not len(rows):
        return batch, empty(SCHEMA)
    lost = batch.take(pa.array(rows))
    letters = dead_letters(
        source,
        PARSE,
        positions=positions[rows].tolist(),
        reasons=[REASON] * len(rows),
        details=[
            f"{column}: {format_duration(timedelta(microseconds=by))} ahead of {receipt}; record.max_future is"
            f" {format_duration(most)}"
            for by in ahead[rows].tolist()
        ],
        payloads=lost[PAYLOAD].to_pylist(),
        event_times=as_instants(lost[EVENT_TIME]).tolist(),
    )
    return batch.filter(pa.array(~is_future)), letters
