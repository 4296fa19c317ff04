"""Files as a source: read to their end, range by range, any number of times."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from transforms.collection.cursor import NOTHING_READ
from transforms.collection.files.paths import list_files
from transforms.collection.files.presence import refuse_absent, refuse_unknown
from transforms.collection.files.ranges import FileRange, list_ranges, parquet_schema
from transforms.collection.files.spec import FilesSourceSpec, FilesSpec
from transforms.collection.repair import Overlay
from transforms.collection.source import Input, Source, SourceSpan
from transforms.collection.source_error import UNREADABLE, reason
from transforms.errors import SourceError
from transforms.location import NamedPath
from transforms.process.progress import Bulletin
from transforms.specification import Spec


@dataclass(frozen=True, kw_only=True)
class FilesSource(Source):
    """Files of one format. A stretch of them is a list of ranges."""

    options: FilesSpec

    kind: ClassVar[str] = "files"
    spec: ClassVar[type[Spec]] = FilesSourceSpec
    replays: ClassVar[bool] = True

    @classmethod
    def paths(cls, spec: FilesSourceSpec) -> Iterator[NamedPath]:
        paths = spec.files.paths
        for index, path in enumerate(paths):
            yield NamedPath(("files", "paths", *([index] if len(paths) > 1 else [])), path)

    @classmethod
    def form(cls, spec: FilesSourceSpec) -> str:
        return spec.files.format

    @classmethod
    def brings_types(cls, spec: FilesSourceSpec) -> bool:
        return spec.files.format == "parquet"

    @classmethod
    def types(cls, spec: FilesSourceSpec, folder: str) -> tuple[str, pa.Schema]:
        """The columns of the first file."""
        path, source = list_files(spec.files, folder)[0]
        try:
            return source, parquet_schema(path)
        except UNREADABLE as error:
            raise SourceError(f"{source} cannot be read as parquet: {reason(error)}") from error

    def describe(self) -> str:
        return f"files {', '.join(self.options.paths)}"

    def title(self) -> str:
        return f"{self.options.format}: {', '.join(self.options.paths)}"

    def holds(self) -> str:
        ranges = self._ranges()
        files = list_files(self.options, self.work.folder)  # files without records have no range
        return f"{len(files):,} files in {len(ranges):,} ranges"

    def inputs(self) -> Iterator[Input]:
        for path, source in list_files(self.options, self.work.folder):
            yield Input(("paths",), path, source)

    def whole(self) -> SourceSpan:
        return SourceSpan(NOTHING_READ, self._ranges())

    def reading(self, span: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> Any:
        from transforms.collection.files.read import FileReader, ReadFiles, ReadListed

        reader = FileReader(
            self.options.format,
            self.work.schema,
            keep_payload=self.work.keeps_payload,
            batch_rows=self.work.batch_rows,
            threads=self.work.threads,
            overlay=overlay,
        )
        return ReadListed(ranges=span.end, read=ReadFiles(reader=reader, bulletin=bulletin))

    def _ranges(self) -> tuple[FileRange, ...]:
        """The ranges of all files, which have the columns that the job file names."""
        columns, work = self.work.record.columns, self.work
        ranges = list_ranges(self.options, work.folder, work.range_bytes)
        if columns is not None and work.schema.strict:
            refuse_unknown(ranges, work.schema.columns, "record.unknown_fields")
        if columns is not None and self.options.format != "jsonl":
            refuse_absent(self.options, columns, work.folder, ranges, "record.columns")
        return tuple(ranges)
