"""Linear regression by least squares, the kind `linear_regression` of the job file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State
from transforms.aggregation.groups import Groups
from transforms.model.kind import Figure, Input, Model, ModelKind, Numbers, Prediction
from transforms.model.kinds.linear_regression.comoments import CoMoments
from transforms.model.kinds.linear_regression.fit import columns, estimator, fit
from transforms.model.kinds.linear_regression.spec import LinearRegressionSpec
from transforms.model.learner import Memory
from transforms.specification import ColumnType

__all__ = ["KIND", "LeastSquares", "LinearRegression", "LinearRegressionSpec", "estimator"]


@dataclass(frozen=True, slots=True)
class LeastSquares:
    """The co-moments of the features and the target, and the fit from them."""

    spec: LinearRegressionSpec
    name: ClassVar[str] = "regression"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.spec.features, self.spec.target)

    @property
    def moments(self) -> CoMoments:
        """The algebra of its state."""
        return CoMoments(len(self.columns))

    @property
    def schema(self) -> pa.Schema:
        return self.moments.schema

    @property
    def memory(self) -> Memory | None:
        return Memory(self.spec.forgetting_factor, self.fade) if self.spec.memory == "all" else None

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        return self.moments.measure([batch[name] for name in self.columns], groups)

    def merge(self, state: State, groups: Groups) -> State:
        return self.moments.merge(state, groups)

    def fade(self, state: State, factors: npt.NDArray[np.float64]) -> State:
        """The state with each group's rows weighing `factors` times as much."""
        n, weight, pivot, delta, factor = self.moments.arrays(state)
        return self.moments.state(n, weight * factors, pivot, delta, factor * np.sqrt(factors)[:, None])

    def finish(self, state: State) -> Mapping[str, pa.Array]:
        return columns(fit(state, self.spec), self.spec)


@dataclass(frozen=True, slots=True)
class LinearRegression(Model):
    """A linear regression of a job file."""

    spec: LinearRegressionSpec

    @property
    def inputs(self) -> Sequence[Input]:
        features = (Input(name, ("features", index)) for index, name in enumerate(self.spec.features))
        return (Input(self.spec.target, ("target",)), *features)

    @property
    def figures(self) -> Sequence[Figure]:
        coefficients = (
            Figure(
                name=f"coefficient_{feature}",
                type=pa.float64(),
                meaning=f"by how much the target grows with {feature}",
                title=f"Coefficient of {feature}",
                place=2,
            )
            for feature in self.spec.features
        )
        return (*coefficients, *_FIGURES)

    @property
    def words(self) -> str:
        return f"{self.spec.target} ~ {' + '.join(self.spec.features)}"

    @property
    def note(self) -> str:
        *others, last = self.spec.features
        features = f"{', '.join(others)} and {last}" if others else last
        return f"Predicts {self.spec.target} from {features}; fitted separately for each window and key."

    @property
    def prediction(self) -> Prediction | None:
        return Prediction(
            target=self.spec.target,
            inputs=self.spec.features,
            figures=("intercept", *(f"coefficient_{feature}" for feature in self.spec.features)),
            predict=_predict,
        )

    def learner(self, columns: Mapping[str, ColumnType]) -> LeastSquares:
        return LeastSquares(self.spec)

    def estimator(self, row: Mapping[str, Any]) -> Any:
        return estimator(row, self.spec)


_FIGURES: Final = (
    Figure(
        name="intercept",
        type=pa.float64(),
        meaning="the target where every feature is 0",
        title="Intercept",
        place=1,
    ),
    Figure(
        name="r2",
        type=pa.float64(),
        meaning="the share of the target's variance that the fit explains",
        title="R², share of variance explained",
        place=3,
    ),
    Figure(
        name="rmse",
        type=pa.float64(),
        meaning="the root of the mean of squared residuals",
        title="Root mean squared error",
        place=4,
        is_amount=True,
    ),
    Figure(
        name="n",
        type=pa.int64(),
        meaning="the rows where the target and all features are present",
        title="Rows fitted",
        place=0,
        is_amount=True,
    ),
)


def _predict(figures: Sequence[Numbers], means: Sequence[Numbers]) -> Numbers:
    intercept, *coefficients = figures
    value = intercept.copy()
    for coefficient, mean in zip(coefficients, means, strict=True):
        value += coefficient * mean
    return value


def _suggest(numbers: Sequence[str]) -> LinearRegressionSpec | None:
    if len(numbers) < 2:
        return None
    *features, target = numbers
    return LinearRegressionSpec(kind="linear_regression", target=target, features=tuple(features))


KIND: Final = ModelKind(
    name="linear_regression",
    order=1,
    spec=LinearRegressionSpec,
    model=LinearRegression,
    suggest=_suggest,
)
