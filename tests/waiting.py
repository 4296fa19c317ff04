"""Waiting for what another process or thread does: looks until it is so, and else says what was seen last."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.5
_MOST_CHARACTERS: Final = 500

Seen = TypeVar("Seen")


class Stuck(AssertionError):
    """Something that had to happen did not."""


class Deadline:
    """By when something has to be so, for loops that work while they wait; it begins when it is made.

    Args:
        what: what is waited for, after the words "waited 60 s for".
    """

    def __init__(self, what: str, seconds: float = PATIENCE_SECONDS):
        self._what, self._seconds, self._moment = what, seconds, time.monotonic() + seconds

    def check(self, seen: object = None) -> None:
        """Raises Stuck, which says what was `seen` last, when it has passed."""
        if time.monotonic() > self._moment:
            last = "" if seen is None or isinstance(seen, bool) else f", last seen: {seen!r:.{_MOST_CHARACTERS}}"
            raise Stuck(f"waited {self._seconds:g} s for {self._what}{last}")


def until(
    look: Callable[[], Seen],
    what: str,
    is_so: Callable[[Seen], object] = bool,
    *,
    seconds: float = PATIENCE_SECONDS,
    unless: Callable[[], object] = lambda: None,
    said: Callable[[], str] = lambda: "",
) -> Seen:
    """Looks until what is seen is so, and returns it. The longer a look takes, the longer the pause behind it.

    Args:
        what: what is waited for, after the words "waited 60 s for".
        unless: what makes waiting pointless, say how a process has ended; something false as long as nothing does.
        said: what else helps to see why it did not come, asked when it did not.

    Raises:
        Stuck: if it does not come in time, or not any more.
    """
    deadline = Deadline(what, seconds)
    while True:
        began = time.monotonic()
        seen = look()
        if is_so(seen):
            return seen
        try:
            if reason := unless():
                if is_so(seen := look()):  # it came just before
                    return seen
                why = "" if reason is True else f": {reason}"
                raise Stuck(f"waited for {what}, which cannot come any more{why}")
            deadline.check(seen)
        except Stuck as stuck:
            raise Stuck(f"{stuck}\n{said()}".rstrip()) from None
        looked = time.monotonic() - began
        time.sleep(min(max(4 * looked, _PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS))
