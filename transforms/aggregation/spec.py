"""What an aggregation is asked for: keys, a window, and statistics of columns."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from transforms.aggregation.family import family_of, is_statistic, meant, names_pattern, rule
from transforms.specification import ONE_OR_MORE, ColumnType, Duration, Spec, one_or_more, repeated
from transforms.time.window import AnyWindow


def known_statistics(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if each is a statistic and there once; ValueError otherwise."""
    unknown = [name for name in names if not is_statistic(name)]
    if len(unknown) > 1:
        raise ValueError(f"{rule()}, are {', '.join(unknown)}{meant(unknown)}")
    for name in unknown:
        family_of(name)
    if len(set(names)) < len(names):
        raise ValueError("must name each statistic once")
    return names


Names = Annotated[tuple[str, ...], ONE_OR_MORE]
_Name = Annotated[str, WithJsonSchema({"type": "string", "pattern": names_pattern()})]
Statistics = Annotated[
    tuple[str, ...],
    BeforeValidator(one_or_more, json_schema_input_type=_Name | tuple[_Name, ...]),
    Field(min_length=1),
    AfterValidator(known_statistics),
]


class AggregationSpec(Spec):
    """Statistics of columns for every key and window."""

    name: str = Field(min_length=1, max_length=200)
    key: Names = ()
    window: AnyWindow
    allowed_lateness: Duration = timedelta(0)
    statistics: dict[str, Statistics] = Field(default_factory=dict)

    def problems(self, columns: dict[str, ColumnType]) -> list[tuple[tuple[str | int, ...], str]]:
        """What does not fit these columns: the place within this spec, and a sentence."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for index, name in enumerate(self.key):
            if name not in columns:
                found.append((("key", index), missing(name, columns)))
            elif columns[name] == "float64":
                sentence = f"{name} is float64, which cannot be a key: equal figures may differ in bits"
                found.append((("key", index), sentence))
            elif name in self.key[:index]:
                found.append((("key", index), f"{name} is there twice"))
        for column, statistics in self.statistics.items():
            if column not in columns:
                found.append((("statistics", column), missing(column, columns)))
                continue
            for statistic in statistics:
                if columns[column] not in family_of(statistic).takes:
                    sentence = f"{statistic} needs numbers, and {column} is a {columns[column]}"
                    found.append((("statistics", column), sentence))
        names = ["window_start", "window_end", *dict.fromkeys(self.key), "rows", *self.figures, "revision", "final"]
        for name in repeated(names):
            found.append((("name",), f"table {self.name} would have two columns named {name}"))
        return found

    @property
    def figures(self) -> dict[str, tuple[str, str]]:
        """The output column of every statistic: its column and its name (`p99.9` ends in `p99_9`)."""
        return {
            f"{column}_{statistic.replace('.', '_')}": (column, statistic)
            for column, statistics in self.statistics.items()
            for statistic in statistics
        }


def missing(name: str, columns: Any) -> str:
    """The sentence for a column that is not there."""
    return f"there is no column {name}; there are {', '.join(columns)}"
