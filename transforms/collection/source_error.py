"""Describes what is wrong with a source in one sentence."""

import zlib
from typing import Final

import pyarrow as pa

UNREADABLE: Final = (OSError, EOFError, ValueError, zlib.error, pa.ArrowException)
"""The exceptions that a damaged file may raise."""


def reason(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
