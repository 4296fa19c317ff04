"""A kind of model for tests: the mean of a column, as a constant to predict it by. Its state merges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

import pyarrow as pa
from sklearn.dummy import DummyRegressor

from transforms.aggregation.accumulator import Arrival, State
from transforms.aggregation.groups import Groups
from transforms.aggregation.statistics.moments import Moments
from transforms.model.kind import SERVED, Figure, Input, Model, ModelKind, ModelSpec, Numbers, Prediction
from transforms.model.learner import Memory
from transforms.specification import ColumnType


class MeanOfSpec(ModelSpec):
    """The mean of a column."""

    kind: Annotated[Literal["mean_of"], SERVED]
    column: str


@dataclass(frozen=True, slots=True)
class Mean:
    """The moments of the column."""

    column: str
    name: ClassVar[str] = "mean"
    memory: ClassVar[Memory | None] = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def schema(self) -> pa.Schema:
        return Moments().schema

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        return Moments().measure(batch[self.column], groups, arrival)

    def merge(self, state: State, groups: Groups) -> State:
        return Moments().merge(state, groups)

    def finish(self, state: State) -> Mapping[str, pa.Array]:
        return {"n": Moments().finish(state, "count"), "constant": Moments().finish(state, "mean")}


@dataclass(frozen=True, slots=True)
class MeanOf(Model):
    """A column, predicted by its mean."""

    spec: MeanOfSpec

    @property
    def inputs(self) -> Sequence[Input]:
        return [Input(self.spec.column, ("column",))]

    @property
    def figures(self) -> Sequence[Figure]:
        constant = Figure(name="constant", type=pa.float64(), meaning="the mean", title="Constant", place=5)
        return [constant, Figure(name="n", type=pa.int64(), meaning="values", title="Values", place=0)]

    @property
    def words(self) -> str:
        return f"the mean of {self.spec.column}"

    @property
    def note(self) -> str:
        return f"Predicts {self.spec.column} by its mean."

    @property
    def prediction(self) -> Prediction:
        return Prediction(target=self.spec.column, inputs=(), figures=("constant",), predict=_predict)

    def learner(self, columns: Mapping[str, ColumnType]) -> Mean:
        return Mean(self.spec.column)

    def estimator(self, row: Mapping[str, Any]) -> Any:
        constant = row["constant"]
        return DummyRegressor(strategy="constant", constant=constant).fit([[0]], [constant])


def _predict(figures: Sequence[Numbers], means: Sequence[Numbers]) -> Numbers:
    return figures[0]


KIND: Final = ModelKind(name="mean_of", order=2, spec=MeanOfSpec, model=MeanOf)
