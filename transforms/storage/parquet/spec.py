"""Parquet folders as a sink, as the job file writes them."""

from pydantic import Field

from transforms.specification import Spec


class ParquetTarget(Spec):
    """A folder; each table is a folder of Parquet files in it."""

    path: str = Field(min_length=1)


class ParquetSinkSpec(Spec):
    """Tables as Parquet files."""

    parquet: ParquetTarget
