"""What became of the records of a file, in a form that tests compare at a glance."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from transforms.collection.files.ranges import list_ranges
from transforms.collection.files.read import FileReader, Format
from transforms.collection.files.spec import FilesSpec
from transforms.collection.parsing.csv_lines import parse_csv
from transforms.collection.parsing.json_lines import parse_json
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Parsed, Rows, Schema, conform
from transforms.collection.repair import Overlay
from transforms.collection.spec import Column, EventTimeSpec
from transforms.record.batch import EVENT_TIME, PAYLOAD, POSITION, Origin

Good = dict[int, dict[str, Any]]
Dead = dict[int, tuple[str, bytes]]

TIME: Final = "ts"
"""The event time of every schema here, in milliseconds since the epoch."""


def schema_of(columns: Mapping[str, str], *, unit: str | None = "ms", time_zone: str = "UTC", **rest: Any) -> Schema:
    """A schema whose event time is the column TIME."""
    time = EventTimeSpec(column=TIME, unit=unit, time_zone=time_zone)
    return Schema({name: Column.model_validate(kind) for name, kind in columns.items()}, time, **rest)


def parse(data: bytes, schema: Schema, header: tuple[str, ...] = ()) -> Parsed:
    """What one block of text holds: CSV if there is a header, JSON lines otherwise."""
    lines = Lines(data, 0)
    refused = lines.unreadable(schema.max_line)
    rows = Rows(parse_csv(lines, schema, refused, header)) if header else parse_json(lines, schema, refused)
    return conform(
        schema,
        rows,
        refused,
        positions=lines.positions,
        originals=lines.payloads,
        carried=lines.payloads,
        origin=Origin(),
    )


def read(
    path: Path | str,
    schema: Schema,
    *,
    range_bytes: int = 1 << 30,
    overlay: Overlay | None = None,
    keep_payload: bool = False,
    base: str = "/",
) -> list[Parsed]:
    """Everything a file or a glob holds, by the format that the path names, one range after the other."""
    spec = FilesSpec(paths=(str(path),), format=format_of(str(path)))
    reader = FileReader(spec.format, schema, keep_payload=keep_payload, overlay=overlay or {})
    return [parsed for part in list_ranges(spec, base, range_bytes) for parsed in reader.read(part)]


def format_of(path: str) -> Format:
    formats: tuple[Format, ...] = ("parquet", "jsonl", "csv")
    return next(name for name in formats if f".{name}" in path)


def good(parsed: Parsed | Iterable[Parsed]) -> Good:
    """The columns of every good record, by position."""
    batches = [part.batch for part in _parts(parsed)]
    return {row[POSITION]: _without_ours(row) for batch in batches for row in batch.to_pylist()}


def dead(parsed: Parsed | Iterable[Parsed]) -> Dead:
    """Reason and payload of every dead letter, by position."""
    letters = [row for part in _parts(parsed) for row in part.dead.to_pylist()]
    assert len({row["position"] for row in letters}) == len(letters)
    return {row["position"]: (row["reason"], row["payload"]) for row in letters}


def reasons(parsed: Parsed | Iterable[Parsed]) -> dict[int, str]:
    """The reason of every dead letter, by position."""
    return {position: reason for position, (reason, _) in dead(parsed).items()}


def column(parsed: Parsed | Iterable[Parsed], name: str) -> list[Any]:
    """The values of one column of the good records, in order."""
    return [value for part in _parts(parsed) for value in part.batch[name].to_pylist()]


def count(parsed: Iterable[Parsed]) -> tuple[int, int, int]:
    """How many records were read, good and dead."""
    parts = list(parsed)
    rows = sum(part.batch.num_rows for part in parts)
    return sum(part.read for part in parts), rows, sum(part.dead.num_rows for part in parts)


def lines_of(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Position and bytes of every line of a text, found without the product's help."""
    found, position = {}, start
    for line in data[start:].split(b"\n"):
        if line or position < len(data):
            found[position] = line
        position += len(line) + 1
    return found


def _parts(parsed: Parsed | Iterable[Parsed]) -> list[Parsed]:
    return [parsed] if isinstance(parsed, Parsed) else list(parsed)


def _without_ours(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in (POSITION, EVENT_TIME, PAYLOAD)}


def instant(text: str) -> pa.TimestampScalar:
    """A time as a batch holds it."""
    return pa.array([text]).cast(pa.timestamp("us", "UTC"))[0].as_py()
