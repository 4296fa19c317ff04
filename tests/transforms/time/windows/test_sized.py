"""Windows of a fixed size."""

from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.time.event_time import EARLIEST, LATEST, as_timestamps
from transforms.time.window import Spans
from transforms.time.windows.sized import Sized

INSTANTS = st.integers(EARLIEST, LATEST - 1)
LENGTHS = st.sampled_from(["1ms", "250ms", "1s", "7m", "1h", "5h", "1d", "30d", "366d"])


@settings(max_examples=100, deadline=None)
@given(st.lists(INSTANTS, min_size=1, max_size=20), LENGTHS)
def test_a_slice_holds_its_instants_and_is_aligned_to_the_epoch(instants: list[int], size: str) -> None:
    window = Sized(size=size)
    length = window.size // timedelta(microseconds=1)
    starts = window.slices(as_timestamps(np.array(instants)))
    assert starts.tolist() == [instant - instant % length for instant in instants]
    assert window.slice_ends(starts).tolist() == [start + length for start in starts.tolist()]
    assert window.slices(as_timestamps(starts)).tolist() == starts.tolist()


def test_neighbouring_slices_have_neighbouring_numbers() -> None:
    window = Sized(size="1d", every="6h")
    starts = np.arange(-3, 4) * 6 * 3_600_000_000
    assert np.diff(window.ordinals(starts)).tolist() == [1] * 6
    assert np.array_equal(window.slice_ends(starts)[:-1], starts[1:])


def test_a_sliding_window_is_cut_into_slices_of_every() -> None:
    window = Sized(size="1d", every="6h")
    assert (window.slices_per_window, window.step) == (4, 6 * 3_600_000_000)
    ends = np.array([0, 6 * 3_600_000_000])
    bounds = window.bounds(Spans(ends - window.step, ends))
    assert bounds.starts.tolist() == [-86_400_000_000, -64_800_000_000]
    assert (Sized(size="1d").slices_per_window, Sized(size="1d").step) == (1, 86_400_000_000)
