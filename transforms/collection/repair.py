"""Repairs: records that are read in other words than their source has."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from transforms.collection.parsing.parsed import Parsed
from transforms.collection.parsing.values import Refusals

Positions = npt.NDArray[np.int64]


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


def replaced_rows(
    repairs: Mapping[int, Repair],
    positions: Positions,
    payload: Callable[[int], bytes],
    applied: dict[int, bytes],
    refused: Refusals,
) -> list[int]:
    """The rows that are read in other words; these go to `applied`, and the rows out of the way."""
    found = applicable(repairs, positions, payload)
    applied.update(found)
    rows: list[int] = np.flatnonzero(np.isin(positions, list(found))).tolist() if found else []
    refused.update(dict.fromkeys(rows, ("", "")))
    return rows


def applicable(
    repairs: Mapping[int, Repair], positions: Positions, payload: Callable[[int], bytes]
) -> dict[int, bytes]:
    """By position: what is read instead of those records that are still what they were when they were repaired."""
    if not repairs:
        return {}
    rows = np.flatnonzero(np.isin(positions, list(repairs))).tolist()
    places = {int(positions[row]): row for row in rows}
    return {
        place: repairs[place].payload
        for place, row in places.items()
        if digest(payload(row)) == repairs[place].replaces
    }


def without(replaced: list[int], parsed: Parsed) -> Parsed:
    """What is read in other words by the overlay leaves no trace here: it is read and judged there."""
    if not replaced:
        return parsed
    dead = parsed.dead.filter(pc.not_equal(parsed.dead["reason"], ""))
    return Parsed(parsed.batch, dead, parsed.read - len(replaced))


def one_line_each(payloads: Mapping[int, bytes]) -> bytes:
    """Repaired payloads as lines: a record is one line, also where somebody laid its JSON out over several."""
    return b"".join(payload.rstrip(b"\n").replace(b"\n", b" ") + b"\n" for payload in payloads.values())
