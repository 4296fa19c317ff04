"""Scratch: room that a thread has until it asks again, and shares with no other."""

import threading

import numpy as np

from transforms.collection.parsing.scratch import room


def test_room_is_given_again_and_grows() -> None:
    first = room("test", (4, 5), np.int64)
    first[:] = 7
    again = room("test", (10,), np.int64)
    assert np.shares_memory(first, again) and (again == 7).all()
    larger = room("test", (100,), np.int64)
    assert larger.shape == (100,) and not np.shares_memory(first, larger)
    assert room("test", (0, 3), np.uint8).shape == (0, 3)


def test_uses_and_threads_have_room_of_their_own() -> None:
    mine = room("one", (10,), np.uint8)
    assert not np.shares_memory(mine, room("other", (10,), np.uint8))
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(room("one", (10,), np.uint8)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])
