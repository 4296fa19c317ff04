"""Where tables come to lie: no two of them in one place, and none where its sink cannot hold it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dataflow.document import Problem
from dataflow.spec import JobSpec
from dataflow.yaml_text import Place
from transforms.storage.kafka_spec import KafkaSinkSpec
from transforms.storage.parquet import folder_name
from transforms.storage.publish import DEAD_LETTERS, Target, sql_table
from transforms.storage.spec import ParquetSinkSpec
from transforms.storage.sql import SqlTable
from transforms.storage.sql.fit import misfits
from transforms.storage.staging import Table

LONGEST_FOLDER_NAME: Final = 240
"""Bytes; file systems keep 255, and hidden folders beside a table's have a few more than it."""


def misplaced(spec: JobSpec, tables: Mapping[str, Table], targets: Sequence[Target]) -> Iterator[Problem]:
    """What is wrong with the places of a job's tables, found before anything is written."""
    for name in tables:
        if len(folder_name(name).encode()) > LONGEST_FOLDER_NAME:
            size = len(folder_name(name).encode())
            sentence = (
                f"the table {name} would need a folder whose name has {size} bytes; at most {LONGEST_FOLDER_NAME}"
            )
            yield Problem(_place_of(name, spec), sentence)
    taken: dict[str, str] = {}
    for target in targets:
        if target.folder is None:
            continue
        folder = target.folder if "://" in target.folder else os.path.realpath(target.folder)
        if folder in taken:
            place = _sink_of(target, spec)
            yield Problem(place, f"{target.table} and {taken[folder]} would both lie in {target.folder}")
        taken.setdefault(folder, target.table)
    for index, sink in enumerate(spec.sinks):
        if isinstance(sink, ParquetSinkSpec):
            if spec.state is not None and os.path.realpath(spec.state) == os.path.realpath(sink.parquet.path):
                yield Problem(("state",), f"must be a folder of its own, and is that of sinks[{index}]")
            continue
        if isinstance(sink, KafkaSinkSpec):
            continue
        held = [
            table for name, table in tables.items() if name != DEAD_LETTERS or not (index or spec.dead_letters.path)
        ]
        yield from (Problem(_place_of(name, spec), sentence) for name, sentence in _unfit(sink.sql.url, held))


def _unfit(url: str, tables: Sequence[Table]) -> Iterator[tuple[str, str]]:
    fit: list[SqlTable] = []
    for table in tables:
        try:
            fit.append(sql_table(table))
        except ValueError as error:
            yield table.name, f"the table {table.name} cannot be in a database: {error}"
    yield from misfits(url, fit)


def _place_of(table: str, spec: JobSpec) -> Place:
    for index, aggregation in enumerate(spec.aggregations):
        if table in (aggregation.name, f"{aggregation.name}_models"):
            return ("aggregations", index, "name")
    return ()


def _sink_of(target: Target, spec: JobSpec) -> Place:
    if target.table == DEAD_LETTERS and spec.dead_letters.path:
        return ("dead_letters", "path")
    for index, sink in reversed(list(enumerate(spec.sinks))):
        if isinstance(sink, ParquetSinkSpec) and str(target.folder).startswith(sink.parquet.path):
            return ("sinks", index)
    return ("sinks",)
