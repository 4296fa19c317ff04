"""Whether files have the columns that are asked of them."""

from collections.abc import Mapping, Sequence

from transforms.collection.files.paths import list_files
from transforms.collection.files.ranges import FileRange, header_in
from transforms.collection.files.spec import FilesSpec
from transforms.collection.source_error import UNREADABLE, reason
from transforms.collection.spec import Column
from transforms.errors import SourceError
from transforms.refusal import near


def refuse_absent(
    spec: FilesSpec, columns: Mapping[str, Column], base: str, ranges: Sequence[FileRange], field: str
) -> None:
    """Checks that files of Parquet or CSV have these columns, which `field` of the specification names.

    Raises:
        SourceError: for every column that no file has, and every column without `?` that some CSV file lacks.
    """
    headers = {part.source: part.header for part in ranges}
    for path, source in list_files(spec, base):
        if source not in headers:  # a file without a record
            try:
                header = header_in(path, spec.format)
            except UNREADABLE as error:
                raise SourceError(f"{source} cannot be read as {spec.format}: {reason(error)}") from error
            if header is not None:
                headers[source] = header
    if not headers:
        return
    anywhere = {name: None for header in headers.values() for name in header}
    problems = [
        f"{field}.{name}: no file has a column {name}; {near(name, anywhere)}"
        for name in columns
        if name not in anywhere
    ]
    for source, header in headers.items() if spec.format == "csv" else ():
        for name, column in columns.items():
            if name in anywhere and name not in header and not column.nullable:
                problems.append(f"{field}.{name}: {source} has no column {name}; {near(name, header)}")
    if problems:
        raise SourceError("\n".join(problems))


def refuse_unknown(ranges: Sequence[FileRange], columns: Mapping[str, Column], field: str) -> None:
    """Checks that files of Parquet or CSV have no other columns than these, where `field` says that none may be.

    Raises:
        SourceError: for the first one.
    """
    for part in ranges:
        for name in part.header:
            if name not in columns:
                raise SourceError(f"{field}: every record of {part.source} has {name}, which is not in columns")
