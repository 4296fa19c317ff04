"""A kind of model for tests: exponential smoothing, which must see the records one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import Field
from sklearn.dummy import DummyRegressor

from transforms.model.kind import SERVED, Figure, Input, Model, ModelKind, ModelSpec
from transforms.model.ordered import InOrder
from transforms.record.batch import ARROW
from transforms.specification import ColumnType, Number


class SmoothedSpec(ModelSpec):
    """The level of a column: each value moves it by `rate` of how far it is away."""

    kind: Annotated[Literal["smoothed"], SERVED]
    column: str
    rate: Number = Field(default=0.5, gt=0, le=1)


@dataclass(frozen=True, slots=True)
class Smoothed(Model):
    """A level that follows a column."""

    spec: SmoothedSpec

    @property
    def inputs(self) -> Sequence[Input]:
        return [Input(self.spec.column, ("column",), frozenset({"int64", "float64"}))]

    @property
    def figures(self) -> Sequence[Figure]:
        return [
            Figure(name="level", type=pa.float64(), meaning="the level at the end", title="Level", place=6),
            Figure(name="direction", type=pa.string(), meaning="of the last step", title="Direction", place=7),
        ]

    @property
    def words(self) -> str:
        return f"{self.spec.column} smoothed by {self.spec.rate}"

    @property
    def note(self) -> str:
        return f"Follows {self.spec.column} from record to record."

    def learner(self, columns: Mapping[str, ColumnType]) -> InOrder:
        inputs = {self.spec.column: ARROW[columns[self.spec.column]]}
        return InOrder(inputs, {figure.name: figure.type for figure in self.figures}, self.learn)

    def learn(self, records: pa.RecordBatch) -> dict[str, Any]:
        """The level after the last record, and where that one has moved it; null of no record."""
        level, direction = None, None
        for value in records[self.spec.column].to_pylist():
            before = value if level is None else level
            level = before + self.spec.rate * (value - before)
            direction = "up" if level > before else "down" if level < before else "level"
        return {"level": level, "direction": direction}

    def estimator(self, row: Mapping[str, Any]) -> Any:
        level = row["level"]
        return DummyRegressor(strategy="constant", constant=level).fit([[0]], [level])


KIND: Final = ModelKind(name="smoothed", order=3, spec=SmoothedSpec, model=Smoothed)
