"""Event time: µs since the epoch, and the same as timestamps of Arrow and as text."""

from datetime import datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.specification import microseconds

Instants = npt.NDArray[np.int64]
"""µs since the epoch."""

EARLIEST: Final = microseconds(datetime(2, 1, 1, tzinfo=timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc))
LATEST: Final = microseconds(datetime(9998, 1, 1, tzinfo=timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc))
"""Event times lie in [EARLIEST, LATEST), so the bounds of a window around one are valid dates too."""

TIMESTAMP: Final = pa.timestamp("us", "UTC")


def as_timestamps(instants: Instants) -> pa.Array:
    """µs since the epoch as timestamp[us, UTC]."""
    return pa.array(instants, pa.int64()).cast(TIMESTAMP)


def as_instants(timestamps: Any) -> Instants:
    """Timestamps in µs without nulls as µs since the epoch."""
    instants: Instants = timestamps.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return instants


def as_text(instant: int) -> str:
    """µs since the epoch as text; `-` for an instant that no calendar has.

    >>> as_text(0)
    '1970-01-01T00:00:00+00:00'
    """
    if not EARLIEST <= instant < LATEST:
        return "-"
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=instant)).isoformat()
