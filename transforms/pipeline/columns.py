"""Columns as pipelines name them: `{"carrier": "string", "dep_delay": "float64?"}`."""

from collections.abc import Mapping

from pydantic import Field

from transforms.collection.spec import Column
from transforms.refusal import validated
from transforms.specification import ColumnType, Spec


class ColumnsSpec(Spec):
    """Columns by their names."""

    columns: dict[str, Column] = Field(min_length=1)


def types_of(columns: Mapping[str, str]) -> dict[str, ColumnType]:
    """The type of each column; whether it may be null does not matter any more.

    Raises:
        SpecError: if there are none, or one has no type that there is.
    """
    return {name: column.type for name, column in validated(ColumnsSpec, {"columns": columns}).columns.items()}
