"""An aggregation out of literals, run without Beam: what tests of windows and models say in a line."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from transforms.aggregation.spec import AggregationSpec
from transforms.aggregation.summary import Summary
from transforms.aggregation.timeline import Output, Timeline
from transforms.model import aggregation as model
from transforms.model.aggregation import bound
from transforms.model.kind import specification_of
from transforms.record.batch import ARROW, EVENT_TIME, POSITION
from transforms.specification import ColumnType
from transforms.time.event_time import TIMESTAMP

HOUR = 3_600_000_000
DAY = 24 * HOUR


@dataclass(frozen=True)
class Aggregation:
    """An aggregation of rows whose event time stands in the column `at`, in µs since the epoch."""

    columns: Mapping[str, ColumnType]
    summary: Summary
    outputs: Sequence[Output]

    @property
    def timeline(self) -> Timeline:
        return Timeline(self.summary, self.outputs)

    def batch(self, frame: pd.DataFrame) -> pa.RecordBatch:
        """The rows of a frame; its index holds their positions, NaN and None are null."""
        columns = {name: pa.array(frame[name], ARROW[kind], from_pandas=True) for name, kind in self.columns.items()}
        columns[EVENT_TIME] = pa.array(frame["at"].to_numpy(np.int64)).cast(TIMESTAMP)
        columns[POSITION] = pa.array(frame.index.to_numpy(np.int64))
        return pa.record_batch(columns)

    def partials(self, frame: pd.DataFrame, batch_rows: int | None = None) -> list[pa.RecordBatch]:
        step = batch_rows or max(len(frame), 1)
        pieces = (frame.iloc[start : start + step] for start in range(0, max(len(frame), 1), step))
        return [self.summary.summarize(self.batch(piece)) for piece in pieces]

    def tables(self, frame: pd.DataFrame, batch_rows: int | None = None) -> dict[str, pa.RecordBatch]:
        """Every output's table, all windows closed at once."""
        timeline = self.timeline
        _, tables, _ = timeline.advance(timeline.start(), self.partials(frame, batch_rows), None)
        return tables

    def rows(self, frame: pd.DataFrame, batch_rows: int | None = None) -> list[dict[str, Any]]:
        """The rows of the first table, with instants in µs since the epoch."""
        return plain_rows(next(iter(self.tables(frame, batch_rows).values())))

    def models(self, frame: pd.DataFrame, batch_rows: int | None = None) -> list[dict[str, Any]]:
        """The rows of the models table, with instants in µs since the epoch."""
        return plain_rows(self.tables(frame, batch_rows)["a_models"])


def aggregation(
    columns: Mapping[str, ColumnType],
    *,
    window: Mapping[str, Any],
    key: Sequence[str] = (),
    statistics: Mapping[str, Sequence[str]] | None = None,
    models: Mapping[str, Mapping[str, Any]] | None = None,
) -> Aggregation:
    """The aggregation `a`, as a job file would have it made."""
    spec = AggregationSpec.model_validate(
        {"name": "a", "key": list(key), "window": dict(window), "statistics": dict(statistics or {})}
    )
    written = {name: {"kind": "linear_regression"} | dict(model) for name, model in (models or {}).items()}
    asked = {name: specification_of(model["kind"]).model_validate(model) for name, model in written.items()}
    # A job's aggregation has statistics or models; these may have neither.
    summary, outputs = bound(model.Aggregation.model_construct(**dict(spec), models=asked), columns)
    return Aggregation(columns, summary, outputs)


def plain_rows(table: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a table, with window bounds in µs since the epoch."""
    for name in ("window_start", "window_end"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(pa.int64()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def in_many_steps(of: Aggregation, frame: pd.DataFrame, chance: random.Random) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table when time passes in small steps, each row known at the latest when its slice ends."""
    timeline, window = of.timeline, of.summary.window
    state, waiting = timeline.start(), frame
    found: dict[str, list[dict[str, Any]]] = {output.table: [] for output in of.outputs}
    through = int(frame["at"].min()) - DAY
    while len(waiting):
        through += chance.choice([1, HOUR // 7, HOUR, 5 * HOUR, 2 * DAY])
        batch = of.batch(waiting)
        due = window.slice_ends(window.slices(batch[EVENT_TIME])) <= through
        early = np.array([chance.random() < 0.1 for _ in range(len(waiting))])
        state, tables, _ = timeline.advance(state, of.partials(waiting[due | early], 3), through)
        waiting = waiting[~(due | early)]
        collect(found, tables)
    _, tables, _ = timeline.advance(state, [], None)
    collect(found, tables)
    return found


def collect(found: Mapping[str, list[dict[str, Any]]], tables: Mapping[str, pa.RecordBatch]) -> None:
    for name, table in tables.items():
        found[name] += plain_rows(table)


def by_key(rows: Iterable[Mapping[str, Any]], *key: str) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """The rows of a table by its key; no key comes twice."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in rows:
        name = (row["window_start"], row["window_end"], *(row[column] for column in key))
        assert name not in found, f"two rows for {name}"
        found[name] = row
    return found
