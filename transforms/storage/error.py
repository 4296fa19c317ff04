"""Failures of a sink, each in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from transforms.errors import SinkError


@contextmanager
def as_sink_error(place: str) -> Iterator[None]:
    """Raises what the operating system refuses at `place` as a SinkError, in one sentence."""
    try:
        yield
    except OSError as error:
        raise SinkError(sentence(place, error)) from error


def sentence(place: str, error: BaseException) -> str:
    """One line for an error of the operating system or a file format at `place`.

    >>> sentence("out/flights", OSError(28, "No space left on device"))
    'out/flights: No space left on device'
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{place}: {error.strerror}"
    return f"{place}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
