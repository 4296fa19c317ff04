"""Files as a source: which, and of which format."""

from typing import Annotated, Literal

from pydantic import Field

from transforms.specification import ONE_OR_MORE, Spec


class FilesSpec(Spec):
    """Files to read to their end; paths may contain globs, and be local paths or any fsspec URL.

    `.gz` and `.zst` files are decompressed. Relative paths are relative to the job file.
    """

    paths: Annotated[tuple[str, ...], ONE_OR_MORE, Field(min_length=1)]
    format: Literal["parquet", "jsonl", "csv"]


class FilesSourceSpec(Spec):
    """Files, as the job file writes them."""

    files: FilesSpec
