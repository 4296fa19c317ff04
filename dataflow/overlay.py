"""The overlay: records that are read in other words than their source has, because somebody repaired them.

`replay` puts a payload beside (source, position); every run reads it instead of what stands there. It counts
how often a record was tried, and applies only while the source still holds the bytes that were repaired.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

FILE = "overlay.jsonl"
Place = tuple[str, int]


@dataclass(frozen=True)
class Overlay:
    """Repaired payloads and attempts by (source, position); a payload that is None is the record's own."""

    entries: Mapping[Place, tuple[bytes | None, int]] = field(default_factory=dict)

    @staticmethod
    def read(state: str) -> "Overlay":
        """The overlay of a job; empty where nothing was replayed."""
        entries: dict[Place, tuple[bytes | None, int]] = {}
        try:
            with open(f"{state}/{FILE}", encoding="utf-8") as file:
                for line in file:
                    entry = json.loads(line)
                    payload = entry["payload"]
                    place = (entry["source"], entry["position"])
                    entries[place] = (None if payload is None else bytes.fromhex(payload), entry["attempts"])
        except FileNotFoundError:
            pass
        return Overlay(entries)

    def write(self, state: str) -> None:
        """Keeps the overlay, atomically."""
        os.makedirs(state, exist_ok=True)
        with open(f"{state}/{FILE}.new", "w", encoding="utf-8") as file:
            for (source, position), (payload, attempts) in sorted(self.entries.items()):
                shown = None if payload is None else payload.hex()
                entry = {"source": source, "position": position, "attempts": attempts, "payload": shown}
                file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{state}/{FILE}.new", f"{state}/{FILE}")

    def tried(self, places: Iterable[Place], repaired: Mapping[Place, bytes]) -> "Overlay":
        """The overlay with one more attempt at `places`, and the payloads that were repaired."""
        entries = dict(self.entries)
        for place in places:
            payload, attempts = entries.get(place, (None, 0))
            entries[place] = (repaired.get(place, payload), attempts + 1)
        return Overlay(entries)

    @cached_property
    def payloads(self) -> dict[str, dict[int, bytes]]:
        """What is read in other words: source to position to payload."""
        by_source: dict[str, dict[int, bytes]] = {}
        for (source, position), (payload, _) in self.entries.items():
            if payload is not None:
                by_source.setdefault(source, {})[position] = payload
        return by_source

    @cached_property
    def attempts(self) -> dict[Place, int]:
        """How often each record was tried before this run."""
        return {place: attempts for place, (_, attempts) in self.entries.items()}
