"""The overlay: repaired records, which are read instead of what their source holds.

`replay` stores a payload for (source, position), and every run reads it instead of the source's bytes. The overlay
counts how often a record was tried; a repair applies only while the source still holds the bytes that it repairs.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from transforms.collection.repair import Repair
from transforms.process import durable

FILE = "overlay.jsonl"
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A replayed record: how often it was tried, and, if it was repaired, its payload and what that replaces."""

    attempts: int
    repair: Repair | None = None


@dataclass(frozen=True)
class ReplayOverlay:
    """What was replayed, by (source, position)."""

    entries: Mapping[Place, Entry] = field(default_factory=dict)

    @staticmethod
    def read(state: str) -> "ReplayOverlay":
        """The overlay of a job; empty if nothing was replayed."""
        entries: dict[Place, Entry] = {}
        try:
            with open(f"{state}/{FILE}", encoding="utf-8") as file:
                for line in file:
                    entry = json.loads(line)
                    payload, replaces = entry.get("payload"), entry.get("replaces")
                    repair = None if payload is None else Repair(base64.b64decode(payload), replaces)
                    entries[entry["source"], entry["position"]] = Entry(entry["attempts"], repair)
        except FileNotFoundError:
            pass
        return ReplayOverlay(entries)

    def write(self, state: str) -> None:
        """Stores the overlay, atomically."""
        with durable.replacing(f"{state}/{FILE}") as file:
            for (source, position), entry in sorted(self.entries.items()):
                line: dict[str, object] = {"source": source, "position": position, "attempts": entry.attempts}
                if entry.repair is not None:
                    line["payload"] = base64.b64encode(entry.repair.payload).decode()
                    line["replaces"] = entry.repair.replaces
                file.write(f"{json.dumps(line)}\n".encode())

    def tried(self, repairs: Mapping[Place, Repair | None]) -> "ReplayOverlay":
        """The overlay with one more attempt at these records; if a repair is None, the one before stays."""
        entries = dict(self.entries)
        for place, repair in repairs.items():
            before = entries.get(place, Entry(0))
            entries[place] = Entry(before.attempts + 1, repair or before.repair)
        return ReplayOverlay(entries)

    @cached_property
    def repairs(self) -> dict[str, dict[int, Repair]]:
        """The repairs by source and position."""
        by_source: dict[str, dict[int, Repair]] = {}
        for (source, position), entry in self.entries.items():
            if entry.repair is not None:
                by_source.setdefault(source, {})[position] = entry.repair
        return by_source

    @cached_property
    def attempts(self) -> dict[Place, int]:
        """How often each record was replayed before."""
        return {place: entry.attempts for place, entry in self.entries.items()}
