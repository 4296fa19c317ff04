"""Reads ranges of files into batches, dead letters and ledger entries."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from transforms.collection.files.ranges import FileRange, check_urls, open_part
from transforms.collection.parsing.csv_lines import parse_csv
from transforms.collection.parsing.csv_quotes import bytes_joined, first_record
from transforms.collection.parsing.json_lines import parse_json
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parquet_rows import convert
from transforms.collection.parsing.parsed import Parsed, Rows, Schema, conform
from transforms.collection.parsing.values import Refusals
from transforms.collection.repair import Overlay, Positions, Repair, one_line_each, replaced_rows, without
from transforms.collection.spec import LONGEST_LINE
from transforms.process.progress import Bulletin
from transforms.process.threads import pool
from transforms.record import ledger
from transforms.record.batch import Origin, one_batch
from transforms.record.branches import BOOKS, Branched, Outputs, branching
from transforms.record.dead_letter import Payloads
from transforms.record.payload import as_json, as_struct

BLOCK_BYTES: Final = 8 << 20
"""Bytes of text parsed at a time: half of it takes a sixth more time, twice of it memory that grows with the rows."""

_PARQUET_ROWS: Final = 1 << 19
"""Rows of Parquet converted at a time: a file of one giant row group is not held in memory whole."""

_READ_AHEAD: Final = 1 << 16

Format = Literal["parquet", "jsonl", "csv"]


Parse = Callable[[], Parsed]


@dataclass(frozen=True, slots=True)
class ReadStep:
    """A block of a range to parse; `after_all`: only after every block before it has been parsed."""

    part: FileRange
    parse: Parse
    after_all: bool = False


@dataclass(frozen=True)
class FileReader:
    """Reads ranges of files of one format; free of Beam.

    Args:
        keep_payload: carry each record's original bytes along, for steps that may still refuse it.
        batch_rows: the most rows of a batch; None: as many as a block holds.
        threads: how many blocks are parsed at once; compiled code, Arrow and numpy release the interpreter lock.
    """

    format: Format
    schema: Schema
    keep_payload: bool = False
    batch_rows: int | None = None
    threads: int = 1
    overlay: Overlay = field(default_factory=dict)

    def read(self, part: FileRange) -> Iterator[Parsed]:
        """All records of one range, block by block, in order."""
        return (parsed for _, parsed in self.read_all([part]))

    def read_all(self, parts: Iterable[FileRange]) -> Iterator[tuple[FileRange, Parsed]]:
        """All records of the ranges, block by block, in order; `threads` blocks are parsed in parallel.

        Raises:
            SourceError: if a file is damaged, or not the file that was listed; discard earlier results then.
        """
        parts = list(parts)
        yield from side_by_side((step for part in parts for step in self._steps(part)), self.threads)
        check_urls(parts)

    def _steps(self, part: FileRange) -> Iterator[ReadStep]:
        repairs = self.overlay.get(part.source, {})
        applied: dict[int, bytes] = {}
        blocks = self._row_groups if self.format == "parquet" else self._blocks
        for parse in blocks(part, repairs, applied):
            yield ReadStep(part, parse)
        if repairs:
            yield ReadStep(part, partial(self._repaired, part, applied), after_all=True)

    def _blocks(self, part: FileRange, repairs: Mapping[int, Repair], applied: dict[int, bytes]) -> Iterator[Parse]:
        for lines in read_lines(part, BLOCK_BYTES):
            yield partial(self._parse, lines, part, None, repairs, applied)

    def _parse(
        self,
        lines: Lines,
        part: FileRange,
        positions: Positions | None,
        repairs: Mapping[int, Repair],
        applied: dict[int, bytes],
    ) -> Parsed:
        is_repaired = positions is not None
        positions = lines.positions if positions is None else positions
        refused: Refusals = lines.unreadable(self.schema.max_line)
        replaced = replaced_rows(repairs, positions, lines.payload, applied, refused)
        if self.format == "csv":
            found = Rows(parse_csv(lines, self.schema, refused, part.header, alone=is_repaired))
        else:
            found = parse_json(lines, self.schema, refused)
        return without(replaced, self._conform(found, refused, part, positions, lines.payloads, lines.payloads))

    def _row_groups(self, part: FileRange, repairs: Mapping[int, Repair], applied: dict[int, bytes]) -> Iterator[Parse]:
        if part.end is not None and part.end - part.start <= _PARQUET_ROWS:
            yield partial(self._row_group, part, repairs, applied)
            return
        first = part.start
        for rows in self._read_rows(part, use_threads=self.threads > 1):
            yield partial(self._rows, rows, first, part, repairs, applied)
            first += rows.num_rows

    def _row_group(self, part: FileRange, repairs: Mapping[int, Repair], applied: dict[int, bytes]) -> Parsed:
        rows = one_batch(list(self._read_rows(part, use_threads=False)))
        return self._rows(rows, part.start, part, repairs, applied)

    def _read_rows(self, part: FileRange, *, use_threads: bool) -> Iterator[pa.RecordBatch]:
        with open_part(part) as file:
            reader, count = pq.ParquetFile(file), 0
            present = [name for name in self.schema.columns if name in reader.schema_arrow.names]
            for rows in reader.iter_batches(_PARQUET_ROWS, [part.row_group], columns=present, use_threads=use_threads):
                count += rows.num_rows
                yield rows
            if part.end is not None and count != part.end - part.start:
                said = f"{part.end - part.start:,} rows in row group {part.row_group}"
                raise ValueError(f"its footer says {said}, which holds {count:,}")

    def _rows(
        self,
        rows: pa.RecordBatch,
        first: int,
        part: FileRange,
        repairs: Mapping[int, Repair],
        applied: dict[int, bytes],
    ) -> Parsed:
        positions = np.arange(first, first + rows.num_rows, dtype=np.int64)
        refused: Refusals = {}
        values = convert(rows, self.schema, refused)

        def payload(row: int) -> bytes:
            return as_json(rows, row)

        replaced = replaced_rows(repairs, positions, payload, applied, refused)

        def originals(refused: Sequence[int]) -> Payloads:
            return [payload(row) for row in refused]

        def carried() -> pa.Array:
            return as_struct(rows)

        return without(replaced, self._conform(Rows(values), refused, part, positions, originals, carried))

    def _repaired(self, part: FileRange, applied: Mapping[int, bytes]) -> Parsed:
        """The repaired records that lie in the range; those of Parquet are JSON."""
        lines = Lines(one_line_each(applied), 0)
        positions = np.array(list(applied), np.int64)
        reader = self if self.format != "parquet" else FileReader("jsonl", self.schema, self.keep_payload)
        return reader._parse(lines, part, positions, {}, {})

    def _conform(
        self,
        rows: Rows,
        refused: Refusals,
        part: FileRange,
        positions: Positions,
        originals: Callable[[Sequence[int]], Payloads],
        carried: Callable[[], pa.Array],
    ) -> Parsed:
        return conform(
            self.schema,
            rows,
            refused,
            positions=positions,
            originals=originals,
            carried=carried if self.keep_payload else None,
            origin=Origin(part.source, part.ordinal, part.start),
        )


def side_by_side(steps: Iterable[ReadStep], threads: int) -> Iterator[tuple[FileRange, Parsed]]:
    """The results of steps in order, with at most `threads` + 1 steps started and not yet returned.

    The caller's thread draws the steps, so their making (reading, decompressing) overlaps with parsing.
    """
    if threads <= 1:
        yield from ((step.part, step.parse()) for step in steps)
        return
    begun: deque[tuple[FileRange, Future[Parsed] | None, Parse]] = deque()

    def next_result() -> tuple[FileRange, Parsed]:
        part, future, parse = begun.popleft()
        return part, parse() if future is None else future.result()

    for step in steps:
        begun.append((step.part, None if step.after_all else pool(threads).submit(step.parse), step.parse))
        while len(begun) > threads:
            yield next_result()
    while begun:
        yield next_result()


def read_lines(part: FileRange, block_bytes: int) -> Iterator[Lines]:
    """The lines that begin in a byte range, in blocks of about `block_bytes`; CSV's in whole records."""
    with open_part(part) as file:
        position, ahead = _first_start(file, part), b""
        is_csv = bool(part.header)  # several lines may form one record
        if is_csv and position is not None and part.end is not None and not part.opens:
            ahead = file.read(min(block_bytes, part.end - position) + _READ_AHEAD)
            position, ahead = first_record(file, position, ahead)
        while position is not None and (part.end is None or position < part.end):
            wanted = block_bytes if part.end is None else min(block_bytes, part.end - position)
            # Slightly more than requested, so that the block need not be copied to append the rest of its last line.
            block = file.read(max(0, wanted + _READ_AHEAD - len(ahead)))
            block = ahead + block if ahead else block
            if not block:
                if part.end is not None:
                    raise EOFError(f"it ends at byte {position:,}, and had bytes to {part.end:,} when it was listed")
                return
            size = passed = block.find(b"\n", wanted - 1) + 1
            if not size:
                size = passed = len(block)
                if size >= wanted + _READ_AHEAD:
                    rest, read = _rest_of_line(file, LONGEST_LINE)
                    block += rest
                    size, passed = len(block), size + read
            ahead = block[size:]
            if is_csv and size == passed:  # otherwise the line was cut: it is longer than any record
                ahead, joined = bytes_joined(block, size, ahead, file.read)
                if joined:
                    block, ahead = block[:size] + ahead[:joined], ahead[joined:]
                    size = passed = size + joined
            yield Lines(block, position, size)
            position += passed


def _first_start(file: Any, part: FileRange) -> int | None:
    """The start of the first line that begins in the range, where `file` is left; None if none begins there."""
    if part.opens or part.end is None:
        file.read(part.start)
        return part.start
    file.seek(part.start - 1)
    position = part.start - 1
    while position < (part.end or 0):
        chunk = file.read(min(1 << 16, part.end - position))
        if not chunk:
            raise EOFError(f"it ends at byte {position:,}, and had bytes to {part.end:,} when it was listed")
        newline = chunk.find(b"\n")
        if newline >= 0:
            position += newline + 1
            file.seek(position)
            return position
        position += len(chunk)
    return None


def _rest_of_line(file: Any, keep: int) -> tuple[bytes, int]:
    """Reads to the end of the line; returns the kept part of it, and the number of bytes read."""
    kept, read = [], 0
    while True:
        chunk = file.readline(1 << 20)
        if read < keep:
            kept.append(chunk)
        read += len(chunk)
        if not chunk or chunk.endswith(b"\n"):
            return b"".join(kept), read


_TOGETHER: Final = 32
"""Ranges that are read together, so that threads wait for each other only between such groups."""


class ReadFn(beam.DoFn):
    """FileRange to batches, with the side outputs `dead_letters` and `ledger`."""

    def __init__(self, reader: FileReader, bulletin: Bulletin):
        self._reader = reader
        self._bulletin = bulletin

    def start_bundle(self) -> None:
        self._parts: list[FileRange] = []

    def process(self, part: FileRange) -> Iterator[Branched]:
        self._parts.append(part)
        if len(self._parts) >= _TOGETHER:
            yield from self._read()

    def finish_bundle(self) -> Iterator[WindowedValue | beam.pvalue.TaggedOutput]:
        for output in self._read():
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(output.tag, _in_global_window(output.value))
            else:
                yield _in_global_window(output)

    def _read(self) -> Iterator[Branched]:
        parts, self._parts = self._parts, []
        counts = {(part.source, part.start): {"read": 0, "dead": 0} for part in parts}
        for part, parsed in self._reader.read_all(parts):
            count = counts[part.source, part.start]
            count["read"] += parsed.read
            count["dead"] += parsed.dead.num_rows
            self._bulletin.tally.add(parsed.read, parsed.dead.num_rows)
            if parsed.dead.num_rows:
                yield beam.pvalue.TaggedOutput("dead_letters", parsed.dead)
            step = self._reader.batch_rows or parsed.batch.num_rows
            for start in range(0, parsed.batch.num_rows, max(step, 1)):
                yield parsed.batch.slice(start, step)
        for (source, start), count in counts.items():
            yield beam.pvalue.TaggedOutput("ledger", ledger.entry(source, start, **count))


def _in_global_window(value: pa.RecordBatch) -> WindowedValue:
    return WindowedValue(value, MIN_TIMESTAMP, [GlobalWindow()])


@dataclass(eq=False, kw_only=True)
class ReadFiles(beam.PTransform):
    """Reads ranges of files in parallel.

    Out: `batches` (the schema's columns, POSITION, EVENT_TIME, with an Origin), `dead_letters`
    (dead_letter.SCHEMA, stage `parse`) and `ledger` (`read` and `dead` of each range).
    """

    reader: FileReader
    bulletin: Bulletin = field(default_factory=Bulletin)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, ranges: beam.PCollection[FileRange]) -> Outputs:
        return ranges | "Spread" >> beam.Reshuffle() | "Read" >> branching(ReadFn(self.reader, self.bulletin), *BOOKS)


@dataclass(eq=False, kw_only=True)
class ReadListed(beam.PTransform):
    """Reads ranges of files that are known when the pipeline is built.

    Out: as `ReadFiles`.
    """

    ranges: Sequence[FileRange]
    read: ReadFiles

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Outputs:
        return self.read.expand(pipeline | "Ranges" >> beam.Create(self.ranges))
