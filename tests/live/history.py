"""What was published, by all lives of a world together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.live.study import Key, Study
from tests.live.world import Wrong
from transforms.time.tick import Tick
from transforms.time.watermark import END, NEVER


@dataclass(frozen=True)
class Published:
    """What was published of a window: at which tick, how often before, with how many rows, and whether it closed."""

    tick: int
    revision: int
    rows: int
    final: bool


class History:
    """What every life has published, so that the next one can be held to it."""

    def __init__(self) -> None:
        self.by_window: dict[tuple[str, Key], list[Published]] = {}
        self.began = NEVER
        """The name of the checkpoint that the life began at: names of ticks are greater from there on."""
        self._ticks: dict[str, Any] = {}

    def copy(self) -> "History":
        """What was published so far, for a life that is no longer looked at."""
        copied = History()
        copied.began = self.began
        copied.by_window = {place: list(entries) for place, entries in self.by_window.items()}
        return copied

    def entries(self) -> dict[tuple[str, Key], list[Published]]:
        """What was published so far."""
        return {place: list(entries) for place, entries in self.by_window.items()}

    def begin(self, name: int, published: Mapping[tuple[str, Key], list[Published]] | None = None) -> None:
        """A life begins at a checkpoint: what came after it was not seen by its state.

        Args:
            published: what had been published when the checkpoint was written: an engine may have gone back since.
        """
        self.began = name
        if published is not None:
            self.by_window = {place: list(entries) for place, entries in published.items()}
        self.by_window = {
            place: kept
            for place, entries in self.by_window.items()
            if (kept := [entry for entry in entries if entry.tick <= name])
        }

    def tick(self, tag: str) -> Any:
        if tag not in self._ticks:
            self._ticks[tag] = Tick.from_json(tag)
        return self._ticks[tag]

    def published(self, table: str, rows: Sequence[Mapping[str, Any]], tick: Any, study: Study) -> None:
        if tick.name <= self.began:
            raise Wrong(f"the tick {tick.name} has a name of before {self.began}")
        key, shows = study.job.tables[table].key, not table.endswith("_models")
        for row in rows:
            place = (table, tuple(row[name] for name in key))
            before = self.by_window.setdefault(place, [])
            count, size = len(before), row.get("rows", 0)
            if tick.watermark != END:
                closes = int(row["window_end"].timestamp() * 1e6) + study.lateness[table]
                if row["final"] != (closes <= tick.watermark):
                    raise Wrong(f"{place} is final={row['final']} at {tick.watermark}")
            if before and before[-1].final:
                raise Wrong(f"{place} was final before")
            if shows and row["revision"] != count:
                raise Wrong(f"{place} has revision {row['revision']}, was published {count} times")
            if not row["final"] and before and before[-1].rows == size:
                raise Wrong(f"{place} was published again and has not changed")
            before.append(Published(tick.name, row["revision"], size, row["final"]))

    def kept(self, name: int) -> None:
        """A checkpoint was kept."""
