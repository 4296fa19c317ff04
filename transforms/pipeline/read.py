"""Reading files in a pipeline of your own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import apache_beam as beam

from transforms.collection.files import read as files
from transforms.collection.files.paths import list_files
from transforms.collection.files.presence import refuse_absent, refuse_unknown
from transforms.collection.files.ranges import FileRange, list_ranges, parquet_schema
from transforms.collection.files.spec import FilesSpec
from transforms.collection.parsing.parquet_rows import column_of
from transforms.collection.parsing.parsed import Schema
from transforms.collection.source_error import UNREADABLE, reason
from transforms.collection.spec import RecordSpec
from transforms.errors import SourceError
from transforms.pipeline.arguments import refuse_below_one
from transforms.record.branches import Outputs
from transforms.refusal import SpecError, validated
from transforms.specification import Spec


class ReadSpec(Spec):
    """`source.files` and `record` of a job file."""

    files: FilesSpec
    record: RecordSpec


@dataclass(eq=False, kw_only=True)
class ReadFiles(beam.PTransform):
    """Reads files to their end, in parallel.

    Apply it to a pipeline. The result has three collections of `pyarrow.RecordBatch`:

    - `batches`: the columns that you name, of the types `string`, `int64`, `float64`, `bool` and
      `timestamp[us, UTC]`; in addition `@position` (int64), a record's place in its file, and `@event_time`
      (timestamp[us, UTC]);
    - `dead_letters`: the records that could not be read, with the columns source, position, stage (`parse`), reason,
      detail, payload (the original bytes), event_time, attempts and failed_at;
    - `ledger`: for each range of a file (source, first_position) how many records were `read`, and how many of them
      are `dead`.

    A record that cannot be read stops nothing: it becomes a dead letter. "Records" lists the forms of values and the
    reasons.

    Args:
        paths: one path or several. Globs, and any URL that fsspec opens (`gs://`, `s3://`); `.gz` and `.zst` are read
            as their content.
        format: `parquet`, `jsonl` or `csv`.
        event_time: the timestamp column that holds a record's event time, or a mapping as in a job file, such as
            `{"column": "ts", "unit": "ms"}`.
        columns: each column to read with its type; `float64?` may be null. Without them, the columns of the
            first Parquet file are read, and `columns` holds them afterwards; JSON lines and CSV need them.
        unknown_fields: `ignore` fields that `columns` does not name, or make records that have them a `dead_letter`.
        max_line: bytes of the longest line (of text) that is a record.
        folder: what relative paths are relative to.
        keep_payload: let batches carry each record's original bytes (`@payload`), so that the dead letters of
            `Preprocess` have them.
        range_bytes: bytes of text that are read at a time; ranges are read in parallel.
        threads: how many blocks a worker parses at once.

    Raises:
        SpecError: if an argument is wrong: one line for each that is, with the name of the field.
        SourceError: at construction or when it is applied, if a file does not exist, is not of the format, or lacks
            a column; while the pipeline runs, if a file is damaged or has changed.

    Examples:
        >>> flights = ReadFiles(
        ...     paths="examples/data/flights.parquet",
        ...     format="parquet",
        ...     event_time="time_hour",
        ...     columns={"time_hour": "timestamp", "dep_delay": "float64?"},
        ... )
        >>> with beam.Pipeline() as pipeline:
        ...     rows = (pipeline | flights).batches | beam.Map(lambda batch: batch.num_rows)
        ...     _ = rows | beam.CombineGlobally(sum) | beam.Map(print)
        336776
    """

    paths: str | Sequence[str]
    format: Literal["parquet", "jsonl", "csv"]
    event_time: str | Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    unknown_fields: Literal["ignore", "dead_letter"] = "ignore"
    max_line: int = 1 << 20
    folder: str = "."
    keep_payload: bool = False
    range_bytes: int = 8 << 20
    threads: int = 1

    def __post_init__(self) -> None:
        super().__init__()
        refuse_below_one(range_bytes=self.range_bytes, threads=self.threads)
        if not self.columns and self.format == "parquet":
            self.columns = self._columns_found()
        elif not self.columns:
            raise SpecError([f"columns: is required for {self.format}; only Parquet brings its own types"])
        _ = self._spec

    @staticmethod
    def from_spec(files: Mapping[str, Any], record: Mapping[str, Any], *, folder: str = ".") -> "ReadFiles":
        """Makes the transform from the source and the record of a job file.

        Args:
            files: the mapping `source.files`.
            record: the mapping `record`; `max_future` is for live sources, and does nothing here.
            folder: what relative paths are relative to.

        Raises:
            SpecError: if something in them is wrong.
            SourceError: as for `ReadFiles`.
        """
        spec = validated(ReadSpec, {"files": dict(files), "record": dict(record)})
        return ReadFiles(
            paths=spec.files.paths,
            format=spec.files.format,
            event_time=spec.record.event_time.model_dump(exclude_unset=True),
            columns={name: str(column) for name, column in (spec.record.columns or {}).items()},
            unknown_fields=spec.record.unknown_fields,
            max_line=spec.record.max_line,
            folder=folder,
        )

    @cached_property
    def _spec(self) -> ReadSpec:
        return _specified(
            {"paths": _listed(self.paths), "format": self.format},
            {
                "event_time": {"column": self.event_time} if isinstance(self.event_time, str) else self.event_time,
                "columns": dict(self.columns),
                "unknown_fields": self.unknown_fields,
                "max_line": self.max_line,
            },
        )

    def _columns_found(self) -> dict[str, str]:
        """The columns of the first Parquet file that can be read; the event time's may not be null."""
        given = {"column": self.event_time} if isinstance(self.event_time, str) else self.event_time
        spec = _specified({"paths": _listed(self.paths), "format": self.format}, {"event_time": given})
        path, source = _as_ours(list_files, spec.files, self.folder)[0]
        try:
            found = parquet_schema(path)
        except UNREADABLE as error:
            raise SourceError(f"{source} cannot be read as parquet: {reason(error)}") from error
        columns = {each.name: column for each in found if (column := column_of(each)) is not None}
        time = spec.record.event_time
        if time.column not in columns:
            there = ", ".join(found.names)
            raise SpecError([f"event_time: {source} has no column {time.column} that could be a time; it has {there}"])
        columns[time.column] = time.typed(columns[time.column])
        return {name: str(column) for name, column in columns.items()}

    def ranges(self) -> list[FileRange]:
        """The ranges to read, found when the transform is applied."""
        spec, columns = self._spec, self._spec.record.columns or {}
        ranges = _as_ours(list_ranges, spec.files, self.folder, self.range_bytes)
        if spec.files.format != "jsonl":
            refuse_absent(spec.files, columns, self.folder, ranges, "columns")
        if spec.record.unknown_fields == "dead_letter":
            refuse_unknown(ranges, columns, "unknown_fields")
        return ranges

    def expand(self, pipeline: beam.Pipeline) -> Outputs:
        self.pipeline = None  # Beam has set it, and would refuse to apply the same transform in another pipeline
        record = self._spec.record
        strict = record.unknown_fields == "dead_letter"
        schema = Schema(record.columns or {}, record.event_time, strict, int(record.max_line))
        reader = files.FileReader(self.format, schema, keep_payload=self.keep_payload, threads=self.threads)
        return pipeline | "Ranges" >> beam.Create(self.ranges()) | "Read" >> files.ReadFiles(reader=reader)


def _listed(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _specified(files: Mapping[str, Any], record: Mapping[str, Any]) -> ReadSpec:
    """The specification; its problems name the arguments."""
    try:
        return validated(ReadSpec, {"files": files, "record": record})
    except SpecError as error:
        raise SpecError([_argument(problem) for problem in error.problems]) from None


def _argument(problem: str) -> str:
    bare = problem.removeprefix("files.").removeprefix("record")
    return bare.removeprefix(".").removeprefix(": ")


def _as_ours(look: Any, *arguments: Any) -> Any:
    """The result of looking at files; a problem with them names the argument."""
    try:
        return look(*arguments)
    except SourceError as error:
        raise SourceError(str(error).removeprefix("source.files.")) from error
