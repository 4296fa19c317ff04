"""The specification of a linear regression."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from transforms.model.kind import SERVED, ModelSpec
from transforms.specification import Number


class LinearRegressionSpec(ModelSpec):
    """A linear regression of `target` on `features`, fitted for every key and window.

    `memory: window` learns from the window's rows alone; `memory: all` learns from all rows of the key up to the
    window's end, in which rows of k steps ago weigh `forgetting_factor`**k.
    """

    kind: Annotated[Literal["linear_regression"], SERVED]
    target: str
    features: tuple[str, ...] = Field(min_length=1)
    alpha: Number = Field(default=0.0, ge=0, allow_inf_nan=False)
    fit_intercept: bool = True
    memory: Literal["window", "all"] = "window"
    forgetting_factor: Number = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> "LinearRegressionSpec":
        if self.target in self.features:
            raise ValueError(f"features must not hold the target, {self.target}")
        if len(set(self.features)) < len(self.features):
            raise ValueError("features must name each column once")
        if self.memory == "window" and "forgetting_factor" in self.model_fields_set:
            raise ValueError("forgetting_factor needs `memory: all`")
        return self
