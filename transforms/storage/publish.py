"""Publication: once a run is complete, its tables replace those of the run before, in every sink.

The order makes a failure harmless at any point: every sink prepares what it can without changing its tables; then
sinks that publish in a transaction do so; then one record of what becomes live is written atomically; then what was
prepared becomes live. Before that record the previous tables stay; after it, the next start completes what a crash
interrupted. A run with too many dead letters publishes nothing.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow.compute as pc

from transforms.errors import SinkError
from transforms.location import folder_name
from transforms.process import durable
from transforms.record import ledger
from transforms.storage.error import as_sink_error
from transforms.storage.sink import Sink
from transforms.storage.sinks import SINKS
from transforms.storage.spec import FAIL_ABOVE
from transforms.storage.staging import Receipt, read_staged
from transforms.storage.tables import DEAD_LETTERS, LEDGER, Table

OUTCOME: Final = "outcome.json"
JOURNAL: Final = "publication.json"


@dataclass(frozen=True)
class Plan:
    """What a run publishes, and where.

    Args:
        run: the name of the run; a parameter, because a graph has no clock.
        state: the job's folder for what outlives a run: the journal and the outcome.
        fail_above: the share of dead letters above which nothing is published.
    """

    run: str
    state: str
    tables: Mapping[str, Table]
    sinks: Sequence[Sink]
    fail_above: float = FAIL_ABOVE

    def staging(self, table: str) -> str:
        """The folder in which a table is staged."""
        return f"{staging_of(self.state, self.run)}/{folder_name(table)}"


def staging_of(state: str, run: str) -> str:
    """The folder in which a run stages its tables."""
    return f"{state}/staging-{run}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `published`, or `too_many_dead_letters`."""

    status: str
    run: str
    ledger: Mapping[str, int]
    rows: Mapping[str, int]
    reasons: Mapping[str, int] = field(default_factory=dict)

    def write(self, state: str) -> None:
        with as_sink_error(state):
            durable.write_text(f"{state}/{OUTCOME}", json.dumps(self.__dict__))

    @staticmethod
    def read(state: str) -> "Outcome | None":
        """The outcome of the last run; None: there was none."""
        try:
            with open(f"{state}/{OUTCOME}") as file:
                return Outcome(**json.load(file))
        except FileNotFoundError:
            return None


def publish(plan: Plan, receipts: Iterable[Receipt]) -> Outcome:
    """Publishes the staged tables of a complete run.

    Raises:
        SinkError: if a sink fails; the previous tables are whole.
    """
    staged: dict[str, list[Receipt]] = {name: [] for name in plan.tables}
    for receipt in sorted(receipts, key=lambda receipt: receipt.path):
        staged[receipt.table].append(receipt)
    book = ledger.merge(read_staged(staged[LEDGER]))
    counts = ledger.totals(book)
    if ledger.imbalance(counts):
        raise AssertionError(f"the ledger does not close: {counts}; nothing was published")
    rows = {name: sum(receipt.rows for receipt in parts) for name, parts in staged.items()}
    reasons = _count_reasons(staged[DEAD_LETTERS])
    if counts["read"] and counts["dead"] > plan.fail_above * counts["read"]:
        outcome = Outcome("too_many_dead_letters", plan.run, counts, rows, reasons)
        outcome.write(plan.state)
        return outcome
    journal, kinds = f"{plan.state}/{JOURNAL}", {type(sink) for sink in plan.sinks}
    prepared: dict[str, list[Mapping[str, Any]]] = {kind.journal: [] for kind in kinds if kind.journal}
    try:
        for sink in plan.sinks:
            if sink.journal:
                prepared[sink.journal] += sink.prepare(staged, plan.run)
        # Written before any table changes, so that a full disk fails while nothing has changed.
        with as_sink_error(journal), durable.aside(journal) as file:
            file.write(json.dumps({"run": plan.run, **prepared}).encode())
        for sink in sorted(plan.sinks, key=lambda sink: not sink.repeats):
            sink.publish(staged)
    except BaseException:
        for kind in kinds:
            with suppress(Exception):  # the failure before is the one to report
                kind.discard(prepared.get(kind.journal, ()))
        durable.discard(journal)
        raise
    with as_sink_error(journal):
        durable.put_in_place(journal)
    finish_interrupted(plan.state, kinds)
    outcome = Outcome("published", plan.run, counts, rows, reasons)
    outcome.write(plan.state)
    return outcome


def finish_interrupted(state: str, kinds: Iterable[type[Sink]] | None = None) -> bool:
    """Completes a publication that was recorded and interrupted; returns whether there was one.

    Args:
        kinds: the kinds of sinks that it may concern; by default all.

    Raises:
        SinkError: if it concerns a kind of sink that is not known.
    """
    try:
        with open(f"{state}/{JOURNAL}") as file:
            recorded = json.load(file)
    except FileNotFoundError:
        return False
    known = list(SINKS.values() if kinds is None else kinds)
    if unknown := sorted(recorded.keys() - {"run", *(kind.journal for kind in known)}):
        raise SinkError(
            f"{state}/{JOURNAL}: an interrupted run has yet to publish to {', '.join(unknown)}, which is not a kind of"
            " sink that this job knows; name its plugin under `plugins` once more, and run the job"
        )
    for kind in known:
        kind.finish(recorded.get(kind.journal, ()))
    os.remove(f"{state}/{JOURNAL}")
    return True


def last_published(state: str) -> str | None:
    """The run whose tables are live, or become live at the next start; None: there is none."""
    try:
        with open(f"{state}/{JOURNAL}") as file:
            run: str = json.load(file)["run"]
            return run
    except FileNotFoundError:
        outcome = Outcome.read(state)
        return outcome.run if outcome is not None and outcome.status == "published" else None


def _count_reasons(receipts: Sequence[Receipt]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in read_staged(receipts):
        for entry in pc.value_counts(batch["reason"]).to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return counts
