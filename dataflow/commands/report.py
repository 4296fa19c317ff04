"""`report`: renders the report from the stored tables."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

import click
import pyarrow as pa

from dataflow import __version__
from dataflow.commands.load import load_job
from dataflow.errors import UsageError
from dataflow.execution.bounded import Ran, settle
from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.execution.stored import newest_of, places, read_table, sums
from dataflow.execution.submission import Submission
from dataflow.job.plan import Job, PlannedAggregation
from dataflow.report import AggregationView, ReportData, render
from transforms.location import is_local, mistake, resolved
from transforms.model.kind import model_of
from transforms.process import durable
from transforms.storage.error import as_sink_error
from transforms.storage.tables import DEAD_LETTERS
from transforms.time.zone import database_version

_SHOWN_VERSIONS = ("apache-beam", "duckdb", "numpy", "pyarrow", "scikit-learn")


def write_report(path: str, settings: Sequence[str], output: str | None) -> None:
    """Renders the report of a job's stored tables.

    Raises:
        UsageError: if neither the job file nor the command line names a path, or nothing was stored.
    """
    job = load_job(path, settings)
    if output is not None and (why := mistake(output) or (None if is_local(output) else "must be a local path")):
        raise UsageError(f"-o: {why}, is {output}")
    target = job.spec.report if output is None else resolved(output, os.getcwd())
    if target is None:
        raise UsageError("the report needs a path: `report` in the job file, or -o PATH")
    settle(job.state)
    if job.spec.is_endless:
        from dataflow.execution.restore import settle_live

        settle_live(job)
    ran = _last_run(job)
    if ran is None:
        raise UsageError(f"{job.spec.job} has not run yet: there is nothing to report")
    render_stored(job, target, ran)
    click.echo(output or target)


@dataclass(frozen=True, slots=True)
class StillRunning:
    """A live job that has not ended: where it runs, and when its newest checkpoint was taken."""

    runner: str
    finished: datetime
    seconds: None = None


def _last_run(job: Job) -> Ran | StillRunning | None:
    """The job's last run; None if it never ran."""
    ran = Ran.read(job.state)
    manifest = checkpoint_folder(job).of_any_job() if job.spec.is_endless else None
    if manifest is None or not manifest.checkpoints:
        return ran
    taken = datetime.fromtimestamp(manifest.newest.taken, timezone.utc)
    if ran is not None and ran.finished >= taken:
        return ran
    record = Submission.read(job.state)
    return StillRunning(f"Flink at {record.cluster}" if record else "this machine", taken)


def render_stored(job: Job, target: str, ran: Ran | StillRunning) -> None:
    """Writes the report of a job that has run or is running."""
    letters, newest = read_table(job, DEAD_LETTERS), newest_of(job)
    page = render(
        ReportData(
            job=job.spec.job,
            versions={"streamgauge": __version__, **_versions(), "IANA time zones": database_version()},
            finished=ran.finished,
            seconds=ran.seconds,
            runner=ran.runner,
            ledger=sums(job),
            dead_letters=_by_reason(letters, newest.reasons if newest is not None else {}),
            aggregations=tuple(_view(job, aggregation) for aggregation in job.aggregations),
            sinks=tuple(places(job)),
        )
    )
    with as_sink_error(target):
        durable.write_text(target, page)


def _view(job: Job, aggregation: PlannedAggregation) -> AggregationView:
    spec = aggregation.spec
    return AggregationView(
        name=spec.name,
        key=spec.key,
        window=str(spec.window),
        statistics=spec.statistics,
        models={name: model_of(model) for name, model in spec.models.items()},
        table=read_table(job, spec.name),
        models_table=read_table(job, f"{spec.name}_models") if spec.models else None,
    )


def _by_reason(letters: pa.Table, known: Mapping[str, int]) -> pa.Table:
    """Dead letters by reason and stage; `known` has the counts of those whose rows have expired."""
    counted = letters.group_by(["reason", "stage"], use_threads=False).aggregate(
        [("detail", "first"), ([], "count_all")]
    )
    rows = counted.rename_columns(["reason", "stage", "example_detail", "letters"]).to_pylist()
    for reason, count in known.items():
        there = [row for row in rows if row["reason"] == reason]
        gone = count - sum(row["letters"] for row in there)
        if gone > 0 and there:
            there[0]["letters"] += gone
        elif gone > 0:
            rows.append({"reason": reason, "stage": "", "letters": gone, "example_detail": None})
    types = {"reason": pa.string(), "stage": pa.string(), "letters": pa.int64(), "example_detail": pa.string()}
    return pa.Table.from_pylist(rows, pa.schema(list(types.items())))


def _versions() -> dict[str, str]:
    found = {}
    for name in _SHOWN_VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # pragma: no cover  # all are requirements
            continue
    return found
