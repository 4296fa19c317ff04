"""The data of a report: plain, checked values, independent of HTML."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from transforms.model.kind import Model

# Each record read is counted in exactly one of these, so they add up to `read`.
LEDGER_TERMS = ("accepted", "dead", "filtered", "duplicate", "late")


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationView:
    """One aggregation in a report: its fields from the job file and its stored tables.

    `table` holds one row a (window, key): `window_start`, `window_end`, the key columns (any type, may be null),
    `rows`, and a column `COLUMN_STATISTIC` for each statistic. `models_table` holds one row a (window, key, model).
    A statistic that the stored table lacks is named in the report, since the job file may be newer than the table.

    Args:
        name: the aggregation's name, which is its table's name too.
        key: the key columns; empty for one global key.
        window: the window in words, as `1d` or `30d every 1d`.
        statistics: the statistics of each column, as written in the job file.
        models: the models by name.
        table: the stored rows.
        models_table: the stored models, or None when there are none.

    Raises:
        ValueError: a table lacks a column that says which window, key or model a row belongs to.
    """

    name: str
    key: tuple[str, ...]
    window: str
    statistics: Mapping[str, tuple[str, ...]]
    models: Mapping[str, Model]
    table: pa.Table
    models_table: pa.Table | None

    def __post_init__(self) -> None:
        identity = ("window_start", "window_end", *self.key)
        _require(self.name, (*identity, "rows"), self.table.column_names)
        if self.models_table is not None:
            _require(f"{self.name}_models", (*identity, "model"), self.models_table.column_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything that a report says about one run.

    Args:
        job: the job's name.
        versions: versions by distribution name, ours first; and that of the time zone database.
        finished: when the run ended, or the time up to which the report describes its tables; aware.
        seconds: how long it ran; None: it is still running.
        runner: the runner's name.
        ledger: `read` and the five terms that add up to it; `partly_late` may be there as well.
        dead_letters: columns `reason`, `stage`, `letters`, `example_detail`; one row for each (reason, stage).
        aggregations: the aggregations in the order of the job file.
        sinks: where the tables went, in words without secrets.

    Raises:
        ValueError: `finished` is naive, or the ledger or the dead letters lack a name.
    """

    job: str
    versions: Mapping[str, str]
    finished: datetime
    seconds: float | None
    runner: str
    ledger: Mapping[str, int]
    dead_letters: pa.Table
    aggregations: tuple[AggregationView, ...]
    sinks: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.finished.tzinfo is None:
            raise ValueError(f"finished must carry a time zone, is {self.finished.isoformat()}")
        _require("ledger", ("read", *LEDGER_TERMS), self.ledger)
        _require("dead_letters", ("reason", "stage", "letters", "example_detail"), self.dead_letters.column_names)


def statistic_column(column: str, statistic: str) -> str:
    """Names the table column that holds `statistic` of `column`.

    >>> statistic_column("dep_delay", "p99.9")
    'dep_delay_p99_9'
    """
    return f"{column}_{statistic.replace('.', '_')}"


def _require(table: str, wanted: Iterable[str], present: Iterable[str]) -> None:
    names = list(present)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(f"{table} must have {', '.join(missing)}, has {', '.join(names) or 'no columns'}")
