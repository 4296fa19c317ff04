"""Publication: once a run is complete, its tables replace those of the run before, in every sink.

The order makes a failure harmless at any point: databases first, each in one transaction; then one record of what
becomes live, written atomically; then renames. Before that record the previous tables stand; after it, the next
start finishes what a crash interrupted. A run with too many dead letters publishes nothing.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow.compute as pc

from transforms.process import durable
from transforms.record import ledger
from transforms.storage import sql
from transforms.storage.error import told_as_sink_error
from transforms.storage.kafka import topics
from transforms.storage.kafka.topics import TopicSink
from transforms.storage.parquet import folder as parquet
from transforms.storage.spec import FAIL_ABOVE
from transforms.storage.staging import Receipt, Table, read_staged

OUTCOME: Final = "outcome.json"
JOURNAL: Final = "publication.json"
LEDGER: Final = "ledger"
DEAD_LETTERS: Final = "dead_letters"
POSITIONS: Final = {DEAD_LETTERS: "position", LEDGER: "first_position"}
"""Of the tables of records, the column that holds positions in the source."""


@dataclass(frozen=True)
class Target:
    """A table of one sink: a Parquet folder or a database's URL."""

    table: str
    folder: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Plan:
    """What a run publishes, and where.

    Args:
        job: the name that owns the folders.
        run: names the run; a parameter, because a graph has no clock.
        state: the job's folder for what outlives a run: the journal and the outcome.
        fail_above: the share of dead letters above which nothing is published.
        topics: those that it fills, behind everything else.
    """

    job: str
    run: str
    state: str
    tables: Mapping[str, Table]
    targets: Sequence[Target]
    fail_above: float = FAIL_ABOVE
    topics: Sequence[TopicSink] = ()

    @property
    def staging(self) -> str:
        return f"{self.state}/staging-{self.run}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `published`, or `too_many_dead_letters`."""

    status: str
    run: str
    ledger: Mapping[str, int]
    rows: Mapping[str, int]
    reasons: Mapping[str, int] = field(default_factory=dict)

    def write(self, state: str) -> None:
        with told_as_sink_error(state):
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
    folders: list[parquet.Folder] = []
    journal = f"{plan.state}/{JOURNAL}"
    try:
        for target in plan.targets:
            if target.folder is not None:
                parts = staged[target.table]
                folders.append(parquet.prepare(target.folder, plan.tables[target.table], parts, plan.run, plan.job))
        # Written before the databases commit: what may fail for want of space fails while nothing has changed.
        with told_as_sink_error(journal), durable.aside(journal) as file:
            file.write(parquet.Publication(plan.run, tuple(folders)).to_json().encode())
        for url, names in by_url(plan.targets).items():
            contents = {sql_table(plan.tables[name]): read_staged(staged[name]) for name in names}
            sql.publish(url, contents, replace=True)
        topics.publish(plan.topics, plan.tables, plan.job, {name: read_staged(parts) for name, parts in staged.items()})
    except BaseException:
        parquet.discard(folders)
        durable.discard(journal)
        raise
    with told_as_sink_error(journal):
        durable.put_in_place(journal)
    finish_interrupted(plan.state)
    outcome = Outcome("published", plan.run, counts, rows, reasons)
    outcome.write(plan.state)
    return outcome


def finish_interrupted(state: str) -> bool:
    """Finishes a publication that was recorded and not completed; says whether there was one."""
    try:
        with open(f"{state}/{JOURNAL}") as file:
            publication = parquet.Publication.from_json(file.read())
    except FileNotFoundError:
        return False
    parquet.finish(publication)
    os.remove(f"{state}/{JOURNAL}")
    return True


def last_published(state: str) -> str | None:
    """The run whose tables are the live ones, or become so at the next start; None: no run's."""
    try:
        with open(f"{state}/{JOURNAL}") as file:
            return parquet.Publication.from_json(file.read()).run
    except FileNotFoundError:
        outcome = Outcome.read(state)
        return outcome.run if outcome is not None and outcome.status == "published" else None


def _count_reasons(receipts: Sequence[Receipt]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in read_staged(receipts):
        for entry in pc.value_counts(batch["reason"]).to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return counts


def by_url(targets: Iterable[Target]) -> dict[str, list[str]]:
    """The tables that each database holds."""
    tables: dict[str, list[str]] = {}
    for target in targets:
        if target.url is not None:
            tables.setdefault(target.url, []).append(target.table)
    return tables


def sql_table(table: Table) -> sql.SqlTable:
    """An output table as a database has it.

    Raises:
        ValueError: if no database can hold it.
    """
    return sql.SqlTable(name=table.name, key=table.key, schema=table.schema)
