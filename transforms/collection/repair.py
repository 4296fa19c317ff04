"""Repairs: payloads that are read in place of records of a source."""

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
    """A payload to read in place of a record, and the SHA-256 of the payload that the record must still have."""

    payload: bytes
    replaces: str


Overlay = Mapping[str, Mapping[int, Repair]]
"""By source and position: the repair to read in place of the source's record."""


def digest(payload: bytes) -> str:
    """The digest by which a repair recognises its record; a repair is not applied to a record that has changed."""
    return hashlib.sha256(payload).hexdigest()


def replaced_rows(
    repairs: Mapping[int, Repair],
    positions: Positions,
    payload: Callable[[int], bytes],
    applied: dict[int, bytes],
    refused: Refusals,
) -> list[int]:
    """The rows that repairs replace; adds the repaired payloads to `applied`, and excludes the rows by `refused`."""
    found = applicable(repairs, positions, payload)
    applied.update(found)
    rows: list[int] = np.flatnonzero(np.isin(positions, list(found))).tolist() if found else []
    refused.update(dict.fromkeys(rows, ("", "")))
    return rows


def applicable(
    repairs: Mapping[int, Repair], positions: Positions, payload: Callable[[int], bytes]
) -> dict[int, bytes]:
    """By position: the payloads of repairs whose records are unchanged since they were repaired."""
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
    """What was parsed, without the rows that repairs replace; the repaired records are parsed separately."""
    if not replaced:
        return parsed
    dead = parsed.dead.filter(pc.not_equal(parsed.dead["reason"], ""))
    return Parsed(parsed.batch, dead, parsed.read - len(replaced))


def one_line_each(payloads: Mapping[int, bytes]) -> bytes:
    """Repaired payloads as lines: one line per record, even if its JSON was spread over several."""
    return b"".join(payload.rstrip(b"\n").replace(b"\n", b" ") + b"\n" for payload in payloads.values())
