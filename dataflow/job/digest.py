"""A short name for a content, the same in every run and version, since checkpoints and logs store it."""

import hashlib
import json
from typing import Any


def digest(content: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a content as JSON.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
