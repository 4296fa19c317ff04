"""`replay`: retries dead letters; each record counts once, however often it is replayed."""

import base64
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.commands.load import load_job
from dataflow.commands.run import run_planned
from dataflow.errors import UsageError
from dataflow.execution.bounded import locked, quieten, settle
from dataflow.execution.checkpoints import replaying, with_live_shards
from dataflow.execution.overlay import Place, ReplayOverlay
from dataflow.execution.part import Part
from dataflow.execution.stored import read_table
from dataflow.execution.submission import forget_savepoints
from dataflow.job.plan import Job
from transforms.collection.repair import Repair, digest
from transforms.record import ledger
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.checkpoint.snapshots import read_snapshots
from transforms.storage.publish import Outcome, last_published
from transforms.storage.sink import Stored
from transforms.storage.tables import DEAD_LETTERS, LEDGER


def replay_job(
    path: str, repaired: str | None, settings: Sequence[str], flags: Sequence[str], export: str | None
) -> int:
    """Runs the job again with dead letters repaired, or exports them for repair.

    Returns:
        The exit code of the run.

    Raises:
        UsageError: if there is nothing to replay, or the export cannot be read.
    """
    quieten()
    job = load_job(path, settings)
    settle(job.state)
    letters = read_table(job, DEAD_LETTERS)
    if export is not None:
        _export(letters, export)
        return 0
    if repaired is not None and not os.path.isfile(repaired):
        raise UsageError(f"{repaired}: there is no such file")
    with locked(job.state):
        return _replay(job, letters, repaired, flags)


def _replay(job: Job, letters: pa.Table, repaired: str | None, flags: Sequence[str]) -> int:
    overlay = ReplayOverlay.read(job.state)
    repairs = _all(letters) if repaired is None else _read_repaired(Path(repaired), letters, overlay)
    interrupted = job.spec.is_endless and os.path.exists(replaying(job))
    if not repairs and not interrupted and not _lacks_figures(job):
        click.echo(f"{job.spec.job}: nothing to replay")
        return 0
    if not job.source.replays:
        raise UsageError(
            f"replay reads a source again, and the {job.source.describe()} can be read only once: its dead letters stay"
            " as they are, and `replay --export` writes them out"
        )
    if job.spec.is_endless:
        return _run_live(job, overlay, repairs, flags)
    return _run(job, overlay, repairs, flags)


def _run_live(job: Job, overlay: ReplayOverlay, repairs: Mapping[Place, Repair | None], flags: Sequence[str]) -> int:
    """Reads the source of a live job again, up to its newest checkpoint, with the repaired records in place.

    The tables are replaced together, as in any bounded run, and then the checkpoint from which the job resumes.
    Between the two, a mark prevents the job from starting.
    """
    from dataflow.execution.restore import claimed, plan_of

    plan, source = plan_of(job, overlay), job.source
    manifest = plan.checkpoints.read()
    if manifest is None:
        raise UsageError(f"{job.state} holds no checkpoint: this job has not run live yet")
    span = source.until(manifest.newest)
    if span is None:
        raise UsageError(
            f"the {source.describe()} no longer holds the job's first records; without them the tables cannot be"
            f" built again. {source.to_hold_more()}"
        )
    newest, aside = manifest.newest, f"{job.state}/replayed"
    again, through = with_live_shards(job), None if newest.drained else newest.watermark
    part = Part(span, through=through, snapshots=aside)
    mark = Path(replaying(job))
    shutil.rmtree(aside, ignore_errors=True)
    before, was_interrupted = last_published(job.state), mark.exists()
    plan, manifest = claimed(plan)  # a leftover launch must not write meanwhile
    mark.touch()
    try:
        code = _run(again, overlay, repairs, flags, part)
    except BaseException:
        if last_published(job.state) == before and not was_interrupted:
            mark.unlink()
        raise
    if code:
        if not was_interrupted:
            mark.unlink()
        return code
    snapshots, stored = (None, None) if newest.drained else _left_to_resume(job, manifest, aside)
    files = {folder: names for sink in job.sinks for folder, names in sink.continued(stored).items()}
    outcome = Outcome.read(job.state)
    assert outcome is not None
    plan.replaced(manifest, newest, snapshots, files, outcome.ledger, outcome.reasons, expired={})
    forget_savepoints(job.state)
    mark.unlink()
    shutil.rmtree(aside, ignore_errors=True)
    return code


def _left_to_resume(job: Job, manifest: Manifest, aside: str) -> tuple[list[pa.RecordBatch], Stored | None]:
    """What the job resumes from: the snapshots that the run has written, and the ledger, if its rows may still grow."""
    from transforms.time.tick import ROWS, parcel

    wanted = job.spec.execution.live_shards * len(job.aggregations)
    snapshots = [batch for path in sorted(Path(aside).glob("*.arrows")) for batch in read_snapshots(str(path))]
    if len(snapshots) != wanted:
        raise AssertionError(f"{len(snapshots)} snapshots were made, must be {wanted}")
    if not job.source.has_open_range:
        return snapshots, None
    done, growing = ledger.divide(ledger.merge(read_table(job, LEDGER).to_batches()))
    if growing.num_rows:  # what a checkpoint leaves for the next one
        snapshots.append(parcel(growing, ROWS, table=LEDGER, carried=True))
    return snapshots, Stored(manifest.newest.name, manifest.attempt, {LEDGER: [done]}, growing)


def rebuild_job(path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    """Builds the tables of a stopped live job again in every sink: from its source, or from an intact sink.

    Returns:
        The exit code of the run.

    Raises:
        UsageError: if neither holds all records.
    """
    quieten()
    job = load_job(path, settings)
    if not job.spec.is_endless:
        raise UsageError(f"rebuild is for live jobs, and this job reads {job.source.kind}: run it again instead")
    with locked(job.state):
        from dataflow.execution.restore import plan_of

        overlay = ReplayOverlay.read(job.state)
        manifest = plan_of(job, overlay).checkpoints.read()
        if manifest is None:
            raise UsageError(f"{job.state} holds no checkpoint: this job has not run live yet")
        if not job.source.replays or job.source.until(manifest.newest) is None:
            from dataflow.execution.copying import copy_tables

            rebuilt = copy_tables(job)
            for sink, name in rebuilt:
                click.echo(f"  rebuilt       {name} in {', '.join(sink.places())}, from another sink")
            if not rebuilt:
                click.echo(f"{job.spec.job}: every table is whole")
            return 0
        return _run_live(job, overlay, {}, flags)


def _lacks_figures(job: Job) -> bool:
    """Whether figures were added while the job ran, which earlier windows lack."""
    from dataflow.execution.checkpoints import checkpoint_folder

    manifest = checkpoint_folder(job).read() if job.spec.is_endless else None
    return manifest is not None and bool(manifest.since)


def _run(
    job: Job,
    overlay: ReplayOverlay,
    repairs: Mapping[Place, Repair | None],
    flags: Sequence[str],
    part: Part | None = None,
) -> int:
    before = last_published(job.state)
    overlay.tried(repairs).write(job.state)
    try:
        code = run_planned(job, flags, part)
    except BaseException:
        # A failure after the publication, such as the report's, does not undo it.
        if last_published(job.state) == before:
            overlay.write(job.state)
        raise
    if code:
        overlay.write(job.state)
        return code
    if not repairs:
        click.echo("  rebuilt       every table, from the source")
        return 0
    remaining = set(_all(read_table(job, DEAD_LETTERS)))
    brought_in = len(repairs.keys() - remaining)
    click.echo(f"  replayed      {len(repairs):,}: {brought_in:,} brought in, {len(repairs) - brought_in:,} still dead")
    return 0


def _all(letters: pa.Table) -> dict[Place, Repair | None]:
    """Every dead record unchanged; late records are brought in unchanged."""
    late = _late(letters)
    places = zip(letters["source"].to_pylist(), letters["position"].to_pylist(), strict=True)
    return {place: late.get(place) for place in places}


def _late(letters: pa.Table) -> dict[Place, Repair]:
    """Late records, each as its own repair: nothing is wrong with them except their arrival time."""
    found = {}
    for letter in letters.filter(pc.equal(letters["reason"], "late")).to_pylist():
        payload = letter["payload"] or b""
        found[letter["source"], letter["position"]] = Repair(payload, digest(payload))
    return found


def _export(letters: pa.Table, target: str) -> None:
    """Writes a JSON object per dead letter; a payload that is not UTF-8 goes into `payload_base64`."""
    lines = []
    for letter in letters.to_pylist():
        payload = letter["payload"] or b""
        entry: dict[str, Any] = {name: letter[name] for name in ("source", "position", "stage", "reason", "detail")}
        try:
            entry["payload"] = payload.decode("utf-8")
        except UnicodeDecodeError:
            entry["payload_base64"] = base64.b64encode(payload).decode()
        lines.append(json.dumps(entry, ensure_ascii=False))
    try:
        Path(target).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from None
    click.echo(f"{target}: {len(lines):,} dead letters; repair `payload`, then replay with this file")


def _read_repaired(path: Path, letters: pa.Table, overlay: ReplayOverlay) -> dict[Place, Repair | None]:
    """The repairs of an export, without those that are already in the tables."""
    originals = {
        (source, position): payload or b""
        for source, position, payload in zip(
            letters["source"].to_pylist(), letters["position"].to_pylist(), letters["payload"].to_pylist(), strict=True
        )
    }
    late = _late(letters)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    repairs: dict[Place, Repair | None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place, payload = _entry(line, f"{path}:{number}")
        before = overlay.entries.get(place)
        known = before.repair if before else None
        if place in originals:
            # A repair of a repair replaces the source's record, not the first repair.
            replaces = known.replaces if known else digest(originals[place])
            changed = payload is not None and payload != originals[place]
            repair = Repair(payload, replaces) if changed and payload is not None else late.get(place)
            # A record may have several letters, one per aggregation for which it was late; repairing one suffices.
            earlier = repairs.get(place)
            if changed and earlier not in (None, late.get(place), repair):
                raise UsageError(f"{path}:{number}: {place[0]} at {place[1]} is repaired in two ways")
            repairs[place] = repair if changed or earlier is None else earlier
        elif known is None:
            raise UsageError(f"{path}:{number}: {place[0]} has no dead letter at {place[1]}")
    return repairs


def _entry(line: bytes, where: str) -> tuple[Place, bytes | None]:
    try:
        entry = json.loads(line)
        place = (str(entry["source"]), int(entry["position"]))
        if "payload" in entry:
            return place, entry["payload"].encode("utf-8")
        if "payload_base64" in entry:
            return place, base64.b64decode(entry["payload_base64"], validate=True)
        return place, None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{where}: is not a line of an export ({type(error).__name__}: {error})") from None
