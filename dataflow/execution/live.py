"""Running a job live: from nothing or from its checkpoint, until it is asked to stop."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from dataflow.errors import JobFailed, RunnerFailed
from dataflow.execution.bounded import Ran, as_failure, check_sinks, locked, quieten
from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.interrupt import INTERRUPTED
from dataflow.job.plan import Job
from transforms.errors import SourceError
from transforms.process.progress import Bulletin
from transforms.storage.checkpoint.folder import CheckpointFolder
from transforms.storage.checkpoint.history import Place

if TYPE_CHECKING:  # nothing of Beam is loaded before the command has said that it starts
    import apache_beam as beam

    from dataflow.graph import LiveRun

STALL_SECONDS: Final = 30.0
"""How long data may wait unread before the watchdog reports it."""

MOST_FAILURES: Final = 3
"""How often in a row the runner may fail before the next checkpoint."""


@dataclass(frozen=True, slots=True)
class LiveFlags:
    """How a live job is run on this machine.

    Args:
        drain: close all open windows at the end; then the job cannot resume.
        to_end: stop by itself when everything that the source holds is read.
        serve: HOST:PORT of a page that shows the job; None: there is none.
        upgrade: first let new statistics join the job's checkpoints.
        begin_anew: start from nothing, whatever the state and the tables hold.
    """

    drain: bool = False
    to_end: bool = False
    serve: str | None = None
    upgrade: bool = False
    begin_anew: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a live job ended: the checkpoint from which it can resume."""

    watermark: int
    drained: bool
    ran: Ran


def follow(
    job: Job,
    flags: Sequence[str],
    live: LiveFlags,
    *,
    say: Callable[[str], None],
    page: AbstractContextManager[Any],
    bulletin: Bulletin,
) -> Ended:
    """Runs a job live until SIGTERM or Ctrl-C asks it to stop; then it keeps a checkpoint.

    Args:
        say: receives sentences about what happens.
        page: shows the job while it runs.
        bulletin: where the run shows its progress.

    Raises:
        SourceError: if there is no source, or a part of it that is needed is gone.
        SinkError: if a sink cannot be written, or the state does not fit the job.
        JobFailed: if anything else fails.
    """
    quieten()
    from runners import direct

    started = time.monotonic()
    job.refuse_overwriting()
    with locked(job.state):
        check_sinks(job)
        folder = checkpoint_folder(job)
        if live.upgrade:
            from dataflow.execution.upgrade import upgrade

            upgrade(job, say)
        before = None if live.begin_anew else folder.read()
        with page:
            _until_it_ends(partial(_once, job, flags, say, [], bulletin), live, folder, say)
        manifest = folder.read()
        if manifest is None or (before is not None and manifest.at.is_at(before.at)):
            raise JobFailed("the job ended without a checkpoint; the next start resumes from the one before")
        newest = manifest.newest
        runner = direct.name(["--runner=PrismRunner"])
        earlier = Ran.read(job.state) if before is not None else None
        seconds = time.monotonic() - started + (earlier.seconds if earlier is not None else 0.0)
        ran = Ran("published", seconds, runner, datetime.now(timezone.utc))
        ran.write(job.state)
        for sink in job.sinks:
            sink.sweep()
        return Ended(newest.watermark, newest.drained, ran)


def _once(
    job: Job,
    flags: Sequence[str],
    say: Callable[[str], None],
    asked: list[int],
    bulletin: Bulletin,
    live: LiveFlags,
) -> None:
    """Runs a job from nothing or from its checkpoint until it ends or fails; `asked` holds the signals so far."""
    from dataflow.execution.restore import launch
    from dataflow.graph import build_live
    from runners import direct, prism
    from transforms.collection.control import FINISH, STOP, ask

    run = launch(job, say, drain=live.drain, anew=live.begin_anew, bulletin=bulletin)
    pipeline = prism.endless_pipeline(flags)
    build_live(pipeline, job, run)
    if asked or live.to_end:
        ask(run.following.control, STOP if asked else FINISH)
    where = direct.name(["--runner=PrismRunner"])
    say(f"following the {job.source.describe()} on {where}; SIGTERM stops at a checkpoint")
    _run(pipeline, job, run, say, asked)


def _until_it_ends(
    once: Callable[[LiveFlags], None], live: LiveFlags, folder: CheckpointFolder, say: Callable[[str], None]
) -> None:
    """Restarts a job from its checkpoint when the runner fails, unless it fails repeatedly without a new checkpoint."""
    failures = 0
    while True:
        before = None if live.begin_anew else _place(folder)
        try:
            return once(live)
        except RunnerFailed as error:
            now = _place(folder)
            stands = now is None if before is None else now is not None and now.is_at(before)
            failures = failures + 1 if stands else 1
            if failures > MOST_FAILURES:
                raise
            live = replace(live, begin_anew=live.begin_anew and now is None)
            say(f"{error}; {'starting again' if now is None else 'resuming from the last checkpoint'}")


def _place(folder: CheckpointFolder) -> Place | None:
    """Where a job stands; None: it has no checkpoint yet."""
    manifest = folder.of_any_job()
    return manifest.at if manifest is not None and manifest.checkpoints else None


def _run(pipeline: "beam.Pipeline", job: Job, run: "LiveRun", say: Callable[[str], None], asked: list[int]) -> None:
    """Runs a pipeline until it ends, asking it to stop when this process is asked to."""
    from transforms.collection.control import STOP, ask

    failures: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            pipeline.run().wait_until_finish()
        except BaseException as error:  # noqa: BLE001  # the waiting thread raises it again
            failures.append(error)
        finally:
            done.set()

    def stop(number: int, frame: FrameType | None) -> None:
        if asked:  # an unreachable sink blocks the checkpoint; the next start resumes from the last one
            os._exit(INTERRUPTED)
        asked.append(number)
        threading.Thread(target=ask_to_stop, name="stop", daemon=True).start()

    def ask_to_stop() -> None:
        while not done.is_set():
            try:
                ask(run.following.control, STOP)
            except OSError:  # the disk may be full; the checkpoint also waits for it
                done.wait(0.5)
            else:
                return

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        threading.Thread(target=work, name="pipeline", daemon=True).start()
        watch(done, job.source.end, say, run.plan.bulletin)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if failures:
        raise _failure_of(failures[0]) from failures[0]


def _failure_of(error: BaseException) -> Exception:
    """The failure that ends the job, or RunnerFailed if only the runner failed."""
    from runners.prism import PrismFailed

    failure = as_failure(error)
    if isinstance(error, PrismFailed) and isinstance(failure, JobFailed):
        return RunnerFailed(str(error).splitlines()[0][:200])
    return failure


def watch(
    done: threading.Event,
    end: Callable[[], int | None],
    say: Callable[[str], None],
    bulletin: Bulletin,
    patience: float = STALL_SECONDS,
) -> None:
    """Waits for the end, and reports what would stay unseen: a sink in trouble, or data that is not read."""
    moved, seen, trouble, stall_reported = time.monotonic(), (-1, -1), "", False
    while not done.wait(0.5):
        with suppress(SourceError):
            if (last := end()) is not None:
                bulletin.set(end=last)
        if bulletin.trouble != trouble:
            say(f"waiting: {bulletin.trouble}" if bulletin.trouble else f"that is over: {trouble}")
            trouble = bulletin.trouble
        now = (bulletin.position, bulletin.watermark or 0)
        if now != seen or bulletin.position >= bulletin.end:
            moved, seen, stall_reported = time.monotonic(), now, False
        elif time.monotonic() - moved > patience and not stall_reported:
            stall_reported = True
            say(f"{bulletin.end - bulletin.position:,} records wait and nothing was read for {patience:.0f} s")
