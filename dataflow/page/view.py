"""The data of the page: the job's tables once, its state repeatedly, and rows of windows once they are stored."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

import pyarrow as pa

from dataflow.job.plan import Job
from dataflow.report.cells import cell
from dataflow.report.keys import label
from transforms.process.progress import Bulletin

_NEITHER: Final = ("window_start", "window_end", "revision", "final")
"""Columns of every table that belong neither to its key nor to its figures."""

_LATEST: Final = datetime(9999, 1, 1, tzinfo=timezone.utc).timestamp() * 1e6
"""The watermark of a drained job is beyond this, in µs."""


@dataclass(frozen=True, slots=True)
class TableView:
    """A table of windows: which columns name a row, which hold its figures, and which of these can be drawn."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class JobView:
    """A job of this process for the page."""

    job: str
    tables: Mapping[str, TableView]
    bulletin: Bulletin

    @classmethod
    def of(cls, job: Job, bulletin: Bulletin) -> "JobView":
        """The view of a planned job."""
        names = [output.table for aggregation in job.aggregations for output in aggregation.outputs]
        tables = {name: _table_view(name, job.tables[name].key, job.tables[name].schema) for name in names}
        return cls(job.spec.job, tables, bulletin)

    @property
    def lag_s(self) -> float:
        """The job's lag in s: that of the last record read, plus the time since then while records wait."""
        bulletin = self.bulletin
        if bulletin.position < bulletin.end and bulletin.heard is not None:
            return bulletin.lag_s + time.monotonic() - bulletin.heard
        return bulletin.lag_s

    @property
    def backlog(self) -> int:
        """Records that wait to be read."""
        return max(self.bulletin.end - self.bulletin.position, 0)

    @property
    def watermark_s(self) -> float | None:
        """The watermark, in s since the epoch."""
        watermark = self.bulletin.watermark
        return watermark / 1e6 if watermark is not None and abs(watermark) < _LATEST else None

    def unready(self) -> str:
        """Why the job is not ready; empty if it is."""
        bulletin = self.bulletin
        if bulletin.trouble:
            return bulletin.trouble
        if bulletin.heard is None and self.backlog:
            return "nothing was read yet"
        return ""

    def state(self) -> dict[str, Any]:
        """The job's present state as JSON-compatible values."""
        bulletin = self.bulletin
        ledger, reasons = bulletin.totals()
        return {
            "now": time.time(),
            "read": self.bulletin.tally.read,
            "position": bulletin.position,
            "backlog": self.backlog,
            "lag_s": self.lag_s,
            "watermark": self.watermark_s,
            "stored": bulletin.stored,
            "ledger": ledger,
            "reasons": reasons,
            "checkpoint": bulletin.checkpoint,
            "trouble": bulletin.trouble,
        }

    def rows_after(self, number: int, most: int) -> tuple[int, list[dict[str, Any]]]:
        """The next rows after the row with this number, as JSON-compatible values, and the number of the last."""
        found = self.bulletin.rows_after(number, most)
        return found[-1][0] if found else number, list(self._rows(found))

    def _rows(self, found: list[tuple[int, str, Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
        for _, name, row in found:
            table = self.tables.get(name)
            if table is not None:
                yield {
                    "table": name,
                    "key": label(tuple(row[column] for column in table.key)),
                    "start": row["window_start"].timestamp(),
                    "end": row["window_end"].timestamp(),
                    "final": row["final"],
                    "values": [_plain(row[column]) for column in table.columns],
                }


def _table_view(name: str, key: tuple[str, ...], schema: pa.Schema) -> TableView:
    named = tuple(column for column in key if column not in _NEITHER)
    columns = tuple(column for column in schema.names if column not in (*named, *_NEITHER))
    numbers = tuple(column for column in columns if _is_number(schema.field(column).type))
    return TableView(name, named, columns, numbers)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _plain(value: object) -> float | str | None:
    """A figure as a number, anything else as text; a float that is not a number, such as NaN, as null."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if math.isfinite(value) else None
    return cell(value).text
