"""The doctor: which runner will really execute a job, and whether it can."""

from collections.abc import Sequence

from runners import direct


def diagnose(flags: Sequence[str], *, endless: bool) -> str:
    """What will execute a job with these flags, in words.

    Raises:
        ValueError: if Beam does not understand the flags, or it would never finish: the in-process runner never
            closes a window of an endless source.
    """
    if endless and direct.is_local(flags):
        raise ValueError("the in-process runner never closes a window of an endless source")
    return direct.name(flags)
