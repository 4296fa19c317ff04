"""Repairs: records that are read in other words than their source has."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Repair:
    """A payload that is read instead of a record, and the SHA-256 of the payload that the record must have."""

    payload: bytes
    replaces: str


Overlay = Mapping[str, Mapping[int, Repair]]
"""Source to position to what is read there instead of what the source holds."""


def digest(payload: bytes) -> str:
    """What a repair knows its record by: a source that changed since is read as it is."""
    return hashlib.sha256(payload).hexdigest()
