"""Files as a source: which, and of which format."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from transforms.collection.spec import SourceKindSpec
from transforms.location import NamedPath
from transforms.specification import ONE_OR_MORE


class FilesSpec(SourceKindSpec):
    """Files to read to their end; paths may contain globs, and be local paths or any fsspec URL.

    `.gz` and `.zst` files are decompressed. Relative paths are relative to the job file.
    """

    paths: Annotated[tuple[str, ...], ONE_OR_MORE, Field(min_length=1)]
    format: Literal["parquet", "jsonl", "csv"]

    def named_paths(self) -> Iterator[NamedPath]:
        for index, path in enumerate(self.paths):
            yield NamedPath(("paths", *([index] if len(self.paths) > 1 else [])), path)
