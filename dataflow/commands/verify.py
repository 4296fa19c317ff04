"""`verify`: runs the source again as a batch, and compares the result with the tables of the live job."""

import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import click
import pyarrow as pa

from dataflow.commands.load import load_job
from dataflow.errors import UsageError
from dataflow.execution.bounded import execute, quieten
from dataflow.execution.overlay import ReplayOverlay
from dataflow.execution.part import Part
from dataflow.execution.stored import not_expired, read_table, rows_between, sinks_with
from dataflow.job.plan import Job
from transforms.storage.checkpoint.folder import CheckpointFolder
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.storage.sinks import in_folder
from transforms.time.event_time import as_text

DIFFERENT: Final = 1
RELATIVE: Final = 1e-9
"""The relative difference allowed between floats; or a thousandth of it, relative to the column's greatest."""

_SHOWN: Final = 10
_LEFT_OUT: Final = ("revision", "failed_at", "attempts")


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs from the batch run: where, and how."""

    table: str
    key: tuple[Any, ...]
    what: str


def verify_job(path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    """Compares every final row of windows closed by the newest checkpoint, every dead letter and the ledger.

    Returns:
        The exit code: 0, or 1 when something differs.
    """
    quieten()
    job = load_job(path, settings)
    if not job.spec.is_endless:
        what = f"verify compares a live job with its source, and this job reads {job.source.kind}"
        raise UsageError(f"{what}: run it again instead")
    if not job.source.replays:
        raise UsageError(f"verify reads a source again, and the {job.source.describe()} can be read only once")
    from dataflow.execution.checkpoints import checkpoint_folder, replaying, with_figures_since
    from dataflow.execution.restore import settle_live

    if os.path.exists(replaying(job)):
        raise UsageError(
            f"{job.state}: a replay was interrupted or is still running, so tables and checkpoint may not match;"
            " finish it with `replay` before `verify`"
        )
    settle_live(job)
    folder = checkpoint_folder(job)
    manifest = folder.read()
    if manifest is None:
        raise UsageError(f"{job.state} holds no checkpoint: this job has not run live yet")
    newest = manifest.newest
    job = with_figures_since(job, manifest.since)
    job, part, begin = _part_to_verify(job, folder, manifest)
    source = job.source
    with tempfile.TemporaryDirectory(prefix="streamgauge-verify-") as scratch:
        again = elsewhere(job, scratch)
        ReplayOverlay.read(job.state).write(again.state)
        if part.seeds or not source.is_empty(part.span):  # open windows may have closed without further records
            execute(again, flags, part)
        differences, compared = _compared(job, again, manifest, begin)
    read = f"{source.words_of(part.span)} of the {source.describe()}"
    if begin is not None and source.is_empty(part.span):
        read = f"the windows that were open at event time {as_text(begin.watermark)}, by the {source.describe()},"
    return _print_result(job, read, differences, compared, newest)


def _part_to_verify(job: Job, folder: CheckpointFolder, manifest: Manifest) -> tuple[Job, Part, Checkpoint | None]:
    """What of the source can be read again: the job as it reads it, the part, and the checkpoint before it, if any."""
    from dataflow.execution.checkpoints import seeds_of, with_live_shards

    newest, source = manifest.newest, job.source
    span = source.until(newest)
    if span is not None:
        return job, Part(span), None
    # The source may already have forgotten the records after the oldest one: an idle job's checkpoints age.
    held = (entry for entry in manifest.checkpoints if source.between(entry, newest) is not None)
    oldest = next(held, manifest.oldest)
    if oldest.name == newest.name:
        raise UsageError(
            f"{source.describe()}: the job's first records are gone, and the only checkpoint is later: there is nothing"
            " to compare yet"
        )
    job = with_live_shards(job)
    span = source.between(oldest, newest)
    if span is None:
        raise UsageError(
            f"{source.describe()}: the records after the oldest checkpoint are gone; nothing can be verified"
        )
    return job, Part(span, seeds_of(job, folder.load(oldest), job.spec.execution.live_shards)), oldest


def _compared(job: Job, again: Job, manifest: Manifest, begin: Checkpoint | None) -> tuple[list[Difference], int]:
    """Where the tables of a job differ from those of the batch run `again`, and how many rows were compared."""
    differences, compared, newest = list[Difference](), 0, manifest.newest
    for name in job.tables:
        mark = manifest.expired.get(name)
        wanted = not_expired(again, name, rows_between(again, name, read_table(again, name), begin, newest), mark)
        for sink in sinks_with(job, name):
            found = not_expired(job, name, rows_between(job, name, sink.read(name), begin, newest), mark)
            compared += wanted.num_rows
            differences += compare(name, job.tables[name].key, found, wanted)
    return differences, compared


def elsewhere(job: Job, folder: str) -> Job:
    """The same job with its sinks in a separate folder."""
    sink = in_folder(f"{folder}/out")
    letters = job.spec.dead_letters.model_copy(update={"path": None, "fail_above": 1.0})
    update = {"sinks": (sink,), "state": f"{folder}/state", "report": None, "dead_letters": letters}
    return replace(job, spec=job.spec.model_copy(update=update))


def compare(table: str, key: Sequence[str], found: pa.Table, wanted: pa.Table) -> Iterator[Difference]:
    """Where two tables differ; figures may differ by RELATIVE."""
    for place, times in Counter(zip(*(found[name].to_pylist() for name in key), strict=True)).items():
        if times > 1:
            yield Difference(table, place, f"is stored {times} times")
    by_key = [{_key(row, key): row for row in rows.to_pylist()} for rows in (found, wanted)]
    greatest = {
        name: max((abs(value) for value in wanted[name].to_pylist() if value is not None), default=0.0)
        for name in wanted.column_names
        if pa.types.is_floating(wanted.schema.field(name).type)
    }
    for place in sorted(by_key[0].keys() | by_key[1].keys(), key=repr):
        rows = [rows.get(place) for rows in by_key]
        if rows[0] is None or rows[1] is None:
            yield Difference(table, place, "is not stored" if rows[0] is None else "is not in the source")
            continue
        for name in wanted.column_names:
            values = rows[0][name], rows[1][name]
            if name not in _LEFT_OUT and not _same(*values, greatest.get(name, 0.0)):
                yield Difference(table, place, f"{name} is {values[0]!r}, and {values[1]!r} by the source")


def _key(row: dict[str, Any], key: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in key)


def _same(a: Any, b: Any, greatest: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=RELATIVE * 1e-3 * greatest)
    return bool(a == b)


def _print_result(job: Job, read: str, differences: Sequence[Difference], compared: int, newest: Checkpoint) -> int:
    for difference in differences[:_SHOWN]:
        where = ", ".join(value.isoformat() if hasattr(value, "isoformat") else repr(value) for value in difference.key)
        click.echo(f"  {difference.table} ({where}): {difference.what}", err=True)
    through = "the end" if newest.drained else as_text(newest.watermark)
    if differences:
        rows = len({(difference.table, difference.key) for difference in differences})
        click.echo(f"error: {rows:,} rows differ from the source, {compared:,} were compared", err=True)
        return DIFFERENT
    click.echo(
        f"{job.spec.job}: {compared:,} rows of windows, dead letters and ledger are what {read} give;"
        f" windows closed by {through}"
    )
    return 0
