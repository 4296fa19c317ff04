"""What is wrong with a source, said in one sentence."""

import zlib
from typing import Final

import pyarrow as pa

UNREADABLE: Final = (OSError, EOFError, ValueError, zlib.error, pa.ArrowException)
"""What a damaged file is met with."""


def reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
