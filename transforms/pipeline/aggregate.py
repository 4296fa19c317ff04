"""Aggregating in a pipeline of your own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

from transforms.aggregation.aggregate import AggregateBounded
from transforms.aggregation.by_watermark import LATE, RETRACTED, AggregateByWatermark
from transforms.model.aggregation import Aggregation, Bound, bound, misfits
from transforms.pipeline.arguments import refuse_below_one, types_of
from transforms.record.branches import Tables
from transforms.refusal import SpecError, sentence_at, validated
from transforms.specification import Spec, microseconds


@dataclass(eq=False, kw_only=True)
class AggregatePerKey(beam.PTransform):
    """Closes a row for every window and key: statistics of columns, and models.

    Apply it to batches, bounded or unbounded, in Beam's global window: windows are cut by the records' event times.
    The batches have `@event_time`, `@position` and the columns that are named here, like those of `ReadFiles`,
    `Preprocess` and `batch_of`. The result is a dictionary of collections of `pyarrow.RecordBatch`:

    - `NAME`: window_start, window_end (timestamp[us, UTC], [start, end)), the key, rows (int64), COLUMN_STATISTIC …,
      revision (int64), final (bool);
    - `NAME_models`, if there are models: window_start, window_end, the key, model, the columns of its kinds, revision,
      final;
    - `NAME_late`: how many rows came after their slice of time had closed, which no other table counts: slice_start,
      slice_end, the key, rows. A slice is a window; for sliding windows, it is as long as `every`;
    - `NAME_retracted`, for an unbounded collection and windows that grow (of a registered kind): windows that took the
      place of provisional rows, which lie within them: window_start, window_end, the key.

    A *bounded* collection closes every window at its end; nothing is late. Of an *unbounded* one, windows close as
    Beam's watermark passes their ends and `allowed_lateness`. So each batch must have a timestamp that is not after
    its earliest event time (`beam.window.TimestampedValue`), and the runner must close windows, as Prism, Flink and
    Dataflow do. With `allowed_lateness`, a window's row goes out at its end with `final` false,
    again with a higher `revision` when late records have changed it, and at last with `final` true.

    The figures do not depend on how the records are divided into batches, on `shards`, or on `threads`.

    Args:
        name: the table's name.
        window: the length of the windows (`1h`, `15m`, a timedelta), or a mapping as in a job file:
            `{"size": "1d", "every": "1h"}`, `{"calendar": "month", "time_zone": "Europe/Berlin"}`.
        columns: the columns of the batches with their types; those that are not used may be left out.
        key: the columns by which rows are grouped; none is one group of all.
        statistics: for each column its statistics, such as `{"dep_delay": ["mean", "p95"]}`.
        models: for each model its name and what it learns, as in a job file.
        allowed_lateness: how long after its end a window waits for late records; a duration as in a job file, or a
            timedelta.
        shards: how many parts the keys are divided into; parts are processed in parallel.
        threads: for a bounded collection, how many batches a worker summarizes at once.

    Raises:
        SpecError: if an argument is wrong or does not fit the columns: one line for each, with the name of the field.
        ValueError: when it is applied, if the batches are not in the global window.

    Examples:
        >>> from datetime import datetime, timezone
        >>> from transforms import batch_of
        >>> columns = {"at": "timestamp", "sensor": "string", "x": "float64?"}
        >>> noon = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
        >>> batch = batch_of([{"at": noon, "sensor": "a", "x": x} for x in (1.0, 2.0)], event_time="at", schema=columns)
        >>> with beam.Pipeline() as pipeline:
        ...     tables = pipeline | beam.Create([batch]) | AggregatePerKey(
        ...         name="hourly", key="sensor", window="1h", statistics={"x": "mean"}, columns=columns
        ...     )
        ...     rows = tables["hourly"] | beam.FlatMap(lambda batch: batch.to_pylist())
        ...     _ = rows | beam.Map(lambda row: print(row["sensor"], row["window_start"], row["x_mean"]))
        a 2024-01-01 12:00:00+00:00 1.5
    """

    name: str
    window: str | timedelta | Mapping[str, Any]
    columns: Mapping[str, str]
    key: str | Sequence[str] = ()
    statistics: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any] | Spec] = field(default_factory=dict)
    allowed_lateness: str | timedelta = timedelta(0)
    shards: int = 8
    threads: int = 1
    _spec: Aggregation = field(init=False, repr=False)
    _bound: Bound = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__init__()
        refuse_below_one(shards=self.shards, threads=self.threads)
        given = {
            "name": self.name,
            "key": self.key,
            "window": {"size": self.window} if isinstance(self.window, str | timedelta) else self.window,
            "allowed_lateness": self.allowed_lateness,
            "statistics": self.statistics,
            "models": self.models,
        }
        self._spec, types = validated(Aggregation, given), types_of(self.columns)
        if wrong := misfits(self._spec, types):
            raise SpecError([sentence_at(*problem) for problem in wrong])
        self._bound = bound(self._spec, types)

    @staticmethod
    def from_spec(
        spec: Mapping[str, Any] | Aggregation, *, columns: Mapping[str, str], shards: int = 8, threads: int = 1
    ) -> "AggregatePerKey":
        """Makes the transform from an aggregation of a job file.

        Args:
            spec: an entry of `aggregations`.
            columns: the columns of the batches with their types.
            shards: as of `AggregatePerKey`.
            threads: as of `AggregatePerKey`.

        Raises:
            SpecError: if something in it is wrong, or does not fit the columns.

        Examples:
            >>> from transforms import AggregatePerKey
            >>> AggregatePerKey.from_spec({"name": "daily", "window": {"size": 1}}, columns={"x": "float64"})
            Traceback (most recent call last):
            transforms.refusal.SpecError: window.size: must be a duration such as 90s, 15m, 1h or 1d, is 1
        """
        asked = spec if isinstance(spec, Aggregation) else validated(Aggregation, spec)
        fields = {name: getattr(asked, name) for name in asked.model_fields_set - {"window"}}
        window = asked.window.model_dump(exclude_unset=True)
        return AggregatePerKey(**fields, window=window, columns=columns, shards=shards, threads=threads)

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Tables:
        if not isinstance(batches.windowing.windowfn, GlobalWindows):
            cut = type(batches.windowing.windowfn).__name__
            raise ValueError(f"batches must be in the global window, are in {cut}: `window` cuts event time itself")
        lateness = microseconds(self._spec.allowed_lateness)
        if batches.is_bounded:
            close = AggregateBounded(**self._bound._asdict(), shards=self.shards, threads=self.threads)
            tables = batches | "Bounded" >> close
            never = batches.pipeline | "Never late" >> beam.Create([]).with_output_types(pa.RecordBatch)
            return tables | {f"{self.name}_late": never}
        close = AggregateByWatermark(**self._bound._asdict(), shards=self.shards, lateness=lateness)
        tables = batches | "Unbounded" >> close
        for what in (LATE, RETRACTED):
            if what in tables:
                tables[f"{self.name}_{what}"] = tables.pop(what)
        return tables
