"""Arguments that several transforms take: columns, such as `{"carrier": "string", "x": "float64?"}`, and numbers."""

from collections.abc import Mapping

from pydantic import Field

from transforms.collection.spec import Column
from transforms.refusal import SpecError, validated
from transforms.specification import ColumnType, Spec


class ColumnsSpec(Spec):
    """Columns by their names."""

    columns: dict[str, Column] = Field(min_length=1)


def types_of(columns: Mapping[str, str]) -> dict[str, ColumnType]:
    """The type of each column; whether it may be null no longer matters.

    Raises:
        SpecError: if there are no columns, or one has an unknown type.
    """
    return {name: column.type for name, column in validated(ColumnsSpec, {"columns": columns}).columns.items()}


def refuse_below_one(**numbers: int) -> None:
    """Raises SpecError for the numbers that are below 1."""
    wrong = [f"{name}: must be at least 1, is {number}" for name, number in numbers.items() if number < 1]
    if wrong:
        raise SpecError(wrong)
