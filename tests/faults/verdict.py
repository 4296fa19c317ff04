"""What came out of a case, against what had to: the log, the ledger, the dead letters, the tables."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

import pyarrow as pa

from dataflow.commands.load import load_job
from dataflow.execution.stored import read_table, sinks_with
from dataflow.job.plan import Job
from tests.dataflow.jobs import changed, streamgauge, write_job
from tests.faults.data import JOB
from tests.faults.processes import left_in
from tests.faults.stage import Stage
from tests.waiting import Stuck, until
from transforms.collection.log.reading import LogReader
from transforms.specification import microseconds

RELATIVE: Final = 1e-9
GONE_SECONDS: Final = 5.0
LEFT_OUT: Final = ("revision", "failed_at", "attempts")


@dataclass
class Verdict:
    """Figures of a case; all but the first two must be 0, and no sentence may be there."""

    faults: int = 0
    records: int = 0
    lost: int = 0
    twice: int = 0
    differ: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.twice or self.differ or self.wrong)

    def miss(self, lost: int, twice: int, what: str) -> None:
        """Counts what is missing, and what is there too often."""
        self.lost += lost
        self.twice += twice
        if lost or twice:
            self.wrong.append(f"{what}: {lost} missing, {twice} too many")


@dataclass(frozen=True)
class Expected:
    """What the log must hold of a source, by the answers: lines in order, or how often each at least and at most."""

    order: Sequence[bytes] | None = None
    least: Mapping[bytes, int] = field(default_factory=dict)
    most: Mapping[bytes, int] = field(default_factory=dict)


def judge(stage: Stage, expected: Mapping[str, Expected], *, exact: bool) -> Verdict:
    """Compares everything; `exact`: also with a batch run over the files that were sent."""
    verdict = Verdict(stage.faults)
    verdict.wrong += stage.unexpected()
    try:
        until(lambda: not left_in(stage.folder), "the end of all processes", seconds=GONE_SECONDS)
    except Stuck:
        verdict.wrong.append(f"processes are left: {left_in(stage.folder)}")
    with closing(LogReader(stage.log)) as reader:
        extent, held, sessions = reader.extent(), lines_by_source(reader), reader.sessions()
    verdict.records = extent.end_position
    dense = extent.end_position - extent.first_position - sum(map(len, held.values()))
    verdict.miss(max(dense, 0), max(-dense, 0), "positions in the log")
    for source in sorted(held.keys() | expected.keys()):
        wanted = expected.get(source, Expected(order=()))
        if extent.first_position and wanted.order is not None:  # what readers have passed is forgotten
            verdict.miss(max(len(wanted.order) - sessions[source], 0), 0, f"records of {source} ever")
            wanted = Expected(wanted.order[len(wanted.order) - len(held.get(source, [])) :])
        _judge_log(verdict, source, held.get(source, []), wanted)
    if not stage.checkpoint():
        verdict.wrong.append("there is no checkpoint")
        return verdict
    with mock.patch.dict(os.environ, stage.environment):
        job = load_job(str(stage.job), ())
    _judge_books(verdict, job, stage, exact=exact)
    with mock.patch.dict(os.environ, stage.environment):
        verified = streamgauge("verify", stage.job)
    if verified.code:
        verdict.differ += 1
        verdict.wrong.append(f"verify: exit code {verified.code}: {verified.err.strip()[:600]}")
    if exact:
        _judge_tables(verdict, job, stage)
    return verdict


def lines_by_source(reader: LogReader) -> dict[str, list[bytes]]:
    """Every record of a log, by source, in order."""
    found: dict[str, list[bytes]] = {}
    for chunk in reader.chunks(reader.extent().first_chunk):
        lines, at = chunk.data.split(b"\n")[:-1], 0
        for run in chunk.runs:
            found.setdefault(run.source, []).extend(lines[at : at + run.count])
            at += run.count
    return found


def _judge_log(verdict: Verdict, source: str, held: Sequence[bytes], expected: Expected) -> None:
    count = Counter(held)
    if expected.order is None:
        lost = sum(max(least - count[line], 0) for line, least in expected.least.items())
        twice = sum(max(n - expected.most.get(line, 0), 0) for line, n in count.items())
    else:
        wanted = Counter(expected.order)
        lost, twice = (wanted - count).total(), (count - wanted).total()
        if not lost and not twice and list(held) != list(expected.order):
            verdict.wrong.append(f"the log holds {source} in another order")
    verdict.miss(lost, twice, f"records of {source} in the log")


def _judge_books(verdict: Verdict, job: Job, stage: Stage, *, exact: bool) -> None:
    for place, sink, table in ((each.kind, each, name) for each in job.sinks for name in each.tables):
        if table == "ledger":
            book = sink.read(table)
            sums = {name: sum(book[name].to_pylist()) for name in book.column_names[2:]}
            parts = sum(sums[name] for name in ("accepted", "dead", "filtered", "duplicate", "late"))
            if parts != sums["read"]:
                verdict.wrong.append(f"the ledger in {place} does not close: {sums}")
            lost, twice = verdict.records - sums["read"], sums["read"] - verdict.records
            verdict.miss(max(lost, 0), max(twice, 0), f"records in the ledger in {place}")
            if exact and (sums["late"] or sums["partly_late"]):
                verdict.wrong.append(f"records are late in {place}: {sums}")
        elif table == "dead_letters":
            letters = sink.read(table).to_pylist()
            keys = Counter((row["source"], row["position"], row["stage"]) for row in letters)
            verdict.miss(0, keys.total() - len(keys), f"dead letters in {place}")
            if exact:
                wanted = Counter(line for sent in stage.sent.values() for line in sent.broken)
                found = Counter(row["payload"] for row in letters)
                lost, twice = (wanted - found).total(), (found - wanted).total()
                verdict.miss(lost, twice, f"payloads of dead letters in {place}")


def _judge_tables(verdict: Verdict, job: Job, stage: Stage) -> None:
    """Final rows of closed windows are those of a batch run over the files: what a run without faults gives."""
    paths = [str(sent.path) for sent in stage.sent.values()]
    source = {"files": {"paths": paths, "format": "jsonl"}}
    again = changed(JOB, source=source, sinks=[{"parquet": {"path": "again/out"}}], state="again/state")
    path = write_job(stage.folder, again, "again.yaml")
    ended = streamgauge("run", path)
    if ended.code:
        verdict.wrong.append(f"the batch run: exit code {ended.code}: {ended.err.strip()[:300]}")
        return
    batch, watermark = load_job(str(path), ()), stage.checkpoint()["watermark"]
    for aggregation in job.aggregations:
        closed = watermark - microseconds(aggregation.spec.allowed_lateness)
        for table in {output.table for output in aggregation.outputs}:
            key = job.tables[table].key
            wanted = _closed(read_table(batch, table), key, closed)
            if len(wanted) < 8:
                verdict.wrong.append(f"{table} has {len(wanted)} rows only: the case shows nothing")
            for sink in sinks_with(job, table):
                found = _closed(sink.read(table), key, closed)
                different = [place for place in wanted.keys() | found.keys() if _difference(wanted, found, place)]
                verdict.differ += len(different)
                if different:
                    what = _difference(wanted, found, min(different, key=repr))
                    verdict.wrong.append(
                        f"{len(different)} of {len(wanted)} rows of {table} in {sink.kind} differ: {what}"
                    )


Rows = Mapping[tuple[Any, ...], Mapping[str, Any]]


def _closed(rows: pa.Table, key: Sequence[str], closed: int) -> Rows:
    ends = rows["window_end"].cast(pa.int64()).to_pylist()
    chosen = (row for row, end in zip(rows.to_pylist(), ends, strict=True) if row["final"] and end <= closed)
    return {tuple(row[name] for name in key): row for row in chosen}


def _difference(wanted: Rows, found: Rows, place: tuple[Any, ...]) -> str:
    """Where a row is not what it must be; empty: it is."""
    if place not in wanted or place not in found:
        return f"{place} is {'missing' if place in wanted else 'too many'}"
    for name, value in wanted[place].items():
        if name not in LEFT_OUT and not _close(value, found[place][name]):
            return f"{place}: {name} is {found[place][name]}, must be {value}"
    return ""


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=RELATIVE)
    return bool(a == b)
