"""What a model is asked to learn."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from transforms.specification import Number, Spec


def _served(kind: Any) -> Any:
    if kind != "linear_regression":
        raise ValueError("must be `linear_regression`, the one kind of model that this version serves")
    return kind


class LinearRegressionSpec(Spec):
    """A linear regression of `target` on `features`, fitted for every key and window.

    `memory: window` learns from the window's rows alone; `memory: all` from all rows of the key up to the
    window's end, those of a window k steps ago weighing `forgetting_factor`**k.
    """

    kind: Annotated[Literal["linear_regression"], BeforeValidator(_served)]
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
