"""The benchmark's events: made once, the same on every machine, kept in a folder.

A sensor's target follows a line of its own over its feature, with noise, so that every key has a regression to recover.
Events come in the order of their time with a disorder of up to five seconds.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow.parquet as pq

from benchmarks.bad_records import bad_count, mix_in

Format = Literal["jsonl", "parquet"]

GENERATION = 1  # raise it when events or exact answers change: files made before are then not used again
SEED = 7
START_MS = 1_700_000_040_000  # a whole minute
DISORDER_MS = 5_000
PARTS = 4  # 20 M rows are four files of 5 M
ROW_GROUP = 262_144
DECIMALS = 6  # answers.py computes with whole millionths

SELECT = "select 's' || key as sensor, ts, feature, target from events"


@dataclass(frozen=True, slots=True)
class EventSet:
    """Which events: `parts` files of `rows` each, over the same `span`; `head` keeps only a file's first rows."""

    rows: int
    parts: int = 1
    keys: int = 1_000
    span: timedelta = timedelta(hours=1)
    head: int | None = None
    has_bad: bool = False

    @property
    def good(self) -> int:
        return self.parts * (self.rows if self.head is None else self.head)

    @property
    def bad(self) -> int:
        return self.parts * bad_count(self.good // self.parts) if self.has_bad else 0

    @property
    def records(self) -> int:
        return self.good + self.bad

    @property
    def clean(self) -> "EventSet":
        """The same events without the bad records: they must give the same answer."""
        return replace(self, has_bad=False)

    @property
    def stem(self) -> str:
        head = "" if self.head is None else f"-first{self.head}"
        return f"v{GENERATION}-{self.rows}x{self.keys}-{self.span // timedelta(minutes=1)}min{head}"


def file_paths(events: EventSet, kind: Format, folder: Path) -> list[Path]:
    """Returns the event set's files in `folder`, and makes those that are missing."""
    return [part_path(events, kind, folder, part) for part in range(events.parts)]


def part_path(events: EventSet, kind: Format, folder: Path, part: int) -> Path:
    if events.has_bad and kind != "jsonl":
        raise ValueError(f"bad records exist in JSON lines only, not in {kind}")
    path = folder / f"{events.stem}{'-bad' if events.has_bad else ''}-{part}.{kind}"
    if events.has_bad:
        clean = part_path(events.clean, kind, folder, part)
        make_once(path, lambda partial: mix_in(clean, partial))
    else:
        make_once(path, lambda partial: write(draw(events, part), kind, partial))
    return path


def make_once(path: Path, make: Callable[[Path], None]) -> None:
    """Lets `make` write next to `path` and renames it when it is whole: an interrupted run leaves no half file."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    make(partial)
    os.replace(partial, path)


def draw(events: EventSet, part: int) -> dict[str, np.ndarray]:
    """Draws one part; the lines of the sensors are the same in every part, the events are not."""
    lines = np.random.default_rng(SEED)
    slope, intercept = lines.normal(size=events.keys), lines.normal(size=events.keys)
    random = np.random.default_rng([SEED, part])
    key = random.integers(0, events.keys, events.rows)
    ts = START_MS + np.sort(random.integers(0, events.span // timedelta(milliseconds=1), events.rows))
    # The time stays in the span: what is shuffled is the order of arrival.
    ts = ts[np.argsort(ts + random.integers(0, DISORDER_MS, events.rows), kind="stable")]
    feature = np.round(random.normal(20, 5, events.rows), DECIMALS)
    noise = random.normal(scale=0.1, size=events.rows)
    target = np.round(slope[key] * feature + intercept[key] + noise, DECIMALS)
    columns = {"key": key, "ts": ts, "feature": feature, "target": target}
    return {name: values[: events.head] for name, values in columns.items()}


def write(columns: dict[str, np.ndarray], kind: Format, path: Path) -> None:
    with duckdb.connect() as connection:
        connection.register("events", columns)
        if kind == "jsonl":
            connection.sql(f"copy ({SELECT}) to {sql_text(path)} (format json)")
        else:  # by Arrow, as most Parquet files are
            pq.write_table(connection.sql(SELECT).to_arrow_table(), path, row_group_size=ROW_GROUP)


def sql_text(path: Path) -> str:
    """Quotes a path for a query; a folder may have an apostrophe in its name."""
    return "'" + str(path).replace("'", "''") + "'"
