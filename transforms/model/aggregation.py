"""An aggregation with its models: its specification, what does not fit its columns, and what computes it."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import Field, model_validator

from transforms.aggregation.measure import column_measures, distinct_measures
from transforms.aggregation.spec import AggregationSpec
from transforms.aggregation.summary import Summary
from transforms.aggregation.timeline import Output, StatisticsOutput
from transforms.model.learn import ModelsOutput, model_columns, model_measures
from transforms.model.learn import problems as model_problems
from transforms.model.spec import AnyModelSpec
from transforms.record.batch import ARROW
from transforms.specification import ColumnType


class Aggregation(AggregationSpec):
    """Statistics and models for every key and window."""

    models: dict[str, AnyModelSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_do(self) -> "Aggregation":
        if not self.statistics and not self.models:
            raise ValueError("must have `statistics` or `models`")
        return self


def misfits(spec: Aggregation, columns: Mapping[str, ColumnType]) -> list[tuple[tuple[str | int, ...], str]]:
    """What does not fit these columns: the place within the aggregation, and a sentence."""
    found = spec.problems(dict(columns))
    found += [(("models", *place), sentence) for place, sentence in model_problems(spec.models, columns)]
    for name in model_columns(spec.models) & set(spec.key):
        sentence = f"the table {spec.name}_models would have two columns named {name}"
        found.append((("key", spec.key.index(name)), sentence))
    return found


class Bound(NamedTuple):
    """An aggregation over columns of known types: how rows become partials, and the tables of closed windows."""

    summary: Summary
    outputs: tuple[Output, ...]


def bound(spec: Aggregation, columns: Mapping[str, ColumnType]) -> Bound:
    """The summary and the outputs of an aggregation over `columns`, which fit it."""
    figures = column_measures(spec, columns)
    models = model_measures(spec.models, columns)
    key = {name: ARROW[columns[name]] for name in spec.key}
    summary = Summary(key, spec.window, distinct_measures([*figures.values(), *models]))
    outputs: list[Output] = [StatisticsOutput(spec, summary, figures)]
    if models:
        outputs.append(ModelsOutput(spec, summary, models))
    return Bound(summary, tuple(outputs))
