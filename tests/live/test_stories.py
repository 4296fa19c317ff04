"""Window stories: what a live job publishes as entries come one after the other. stories/README.md has the form."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pytest
import yaml

from dataflow.job.plan import Job
from tests.live.history import History
from tests.live.jobs import planned
from tests.live.life import Life
from tests.live.logs import chunk_after
from tests.live.plan import Plan
from tests.live.study import Study, remembered_hashes
from tests.live.world import World
from transforms.aggregation import summary
from transforms.collection.log.file import Chunk
from transforms.record import ledger
from transforms.specification import microseconds, parse_duration
from transforms.storage.tables import DEAD_LETTERS, LEDGER
from transforms.time.watermark import NEVER

STORIES = sorted(Path(__file__).with_name("stories").glob("*.yaml"))
SECOND = 1_000_000
HEARTBEAT = 5 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass
class Story:
    """A log that grows step by step, and what the job has published so far."""

    job: Job
    day: str
    world: World = field(default_factory=World)
    history: History = field(default_factory=History)
    log: list[Chunk] = field(default_factory=list)
    wall: int | None = None
    elapsed: int = 0
    published: dict[Any, Any] = field(default_factory=dict)

    def hear(self, step: str) -> None:
        """Adds what a step says to the log."""
        if silence := re.fullmatch(r"… (\S+) of silence", step):
            for _ in range(0, microseconds(parse_duration(silence[1])), HEARTBEAT):
                self._add((self.wall or 0) + HEARTBEAT, [])
        elif down := re.fullmatch(r"… the collector is down for (\S+)", step):
            self.wall = (self.wall or 0) + microseconds(parse_duration(down[1]))
        else:
            received, source, at, value = step.split()
            record = {"t": self.instant(at) / SECOND, "k": None, "x": int(value), "y": None}
            self._add(self.instant(received), [(source, [json.dumps(record).encode()])])

    def _add(self, wall: int, parts: list[Any]) -> None:
        self.elapsed += wall - (wall if self.wall is None else self.wall)
        self.wall = wall
        self.log.append(chunk_after(self.log, wall, self.elapsed, parts))

    def play(self, seed: int) -> dict[str, Any]:
        """What a process publishes that resumes after the last one, reads all there is and stops."""
        plan = Plan(1 + seed % 3, len(self.log), "stop", 0.1, 1.0, 1)
        with self.world.watched(), mock.patch.object(summary, "hash_rows", remembered_hashes):
            Life(Study(self.job, self.log, cuts=False), self.world, Random(seed), plan, self.history).live()
        tables = {name: rows.copy() for name, rows in self.world.tables.items()}
        rows = [self._row(name, row) for name, row in self._news(tables) if name not in (DEAD_LETTERS, LEDGER)]
        letters = [self._letter(row) for name, row in self._news(tables) if name == DEAD_LETTERS]
        self.published = tables
        watermark = self.world.checkpoints[-1].watermark
        sums = {count: sum(row[count] for row in tables[LEDGER].values()) for count in ledger.COUNTS}
        return {
            "rows": sorted(rows),
            "letters": sorted(letters),
            "watermark": "none" if watermark == NEVER else self.text(EPOCH + timedelta(microseconds=watermark)),
            "ledger": {count: number for count, number in sums.items() if number},
        }

    def _news(self, tables: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, rows in tables.items():
            yield from ((name, row) for key, row in rows.items() if self.published.get(name, {}).get(key) != row)

    def _row(self, name: str, row: Mapping[str, Any]) -> str:
        sort, many = "final" if row["final"] else "provisional", "" if row["rows"] == 1 else "s"
        start, end = self.text(row["window_start"]), self.text(row["window_end"])
        return f"{name} {start} to {end}, {row['rows']} row{many}, sum {row['x_sum']:.0f}, {sort} {row['revision']}"

    def _letter(self, row: Mapping[str, Any]) -> str:
        what = row["stage"].replace("aggregation:", "for ").replace("parse", "").strip()
        detail = row["detail"].removeprefix("t: ").partition(";")[0]
        return " ".join(filter(None, [self.text(row["event_time"]), "is", row["reason"], what])) + ", " + detail

    def instant(self, text: str) -> int:
        """µs of a time on the story's day, or of a date with a time."""
        at = datetime.fromisoformat(text if "T" in text else f"{self.day}T{text}").replace(tzinfo=timezone.utc)
        return (at - EPOCH) // timedelta(microseconds=1)

    def text(self, at: datetime) -> str:
        text = at.astimezone(timezone.utc).isoformat().removesuffix("+00:00")
        return text.removeprefix(f"{self.day}T")


def read(path: Path, folder: Path) -> tuple[Story, list[Any]]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    aggregations = [
        {"name": name, "statistics": {"x": ["sum"]}, **what} for name, what in content["aggregations"].items()
    ]
    fragment: dict[str, Any] = {"aggregations": aggregations, "dead_letters": {}}
    if "watermark" in content:
        fragment["watermark"] = content["watermark"]
    return Story(planned(fragment, str(folder)), str(content["day"])), content["steps"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_plays_as_it_is_written(path: Path, seed: int, tmp_path: Path) -> None:
    story, steps = read(path, tmp_path)
    for number, step in enumerate(steps, 1):
        if isinstance(step, str):
            story.hear(step)
            continue
        found = story.play(seed)
        step = {name: sorted(what) if name == "letters" else what for name, what in step.items()}
        found = {
            name: value for name, value in found.items() if name in step or (name in ("rows", "letters") and value)
        }
        assert found == step, f"{path.name}, step {number}"


def test_every_story_expects_something() -> None:
    assert len(STORIES) >= 12
    for path in STORIES:
        steps = yaml.safe_load(path.read_text(encoding="utf-8"))["steps"]
        assert isinstance(steps[-1], dict), f"{path.name} ends without an expectation"
