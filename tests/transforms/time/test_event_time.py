"""Instants and timestamps."""

from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from transforms.time.event_time import EARLIEST, LATEST, as_instants, as_timestamps


def test_instants_and_timestamps_are_two_words_for_one_thing() -> None:
    instants = np.array([EARLIEST, -1, 0, 1, LATEST - 1])
    timestamps = as_timestamps(instants)
    assert timestamps.type == pa.timestamp("us", "UTC")
    assert np.array_equal(as_instants(timestamps), instants)
    assert timestamps[0].as_py() == datetime(2, 1, 1, tzinfo=timezone.utc)
