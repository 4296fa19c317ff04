"""What a model may be asked to learn, and the sentence that refuses the rest."""

from typing import Any

import pytest
from pydantic import ValidationError

from transforms.model.kinds.linear_regression import LinearRegressionSpec
from transforms.model.learn import problems

PLAIN: dict[str, Any] = {"kind": "linear_regression", "target": "y", "features": ["x"]}


def test_a_model_learns_its_window_with_an_intercept_unless_told_otherwise() -> None:
    spec = LinearRegressionSpec.model_validate(PLAIN)
    assert (spec.alpha, spec.fit_intercept, spec.memory, spec.forgetting_factor) == (0.0, True, "window", 1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "forest"}, "must be `linear_regression`"),
        ({"features": []}, "at least 1 item"),
        ({"features": ["x", "x"]}, "name each column once"),
        ({"features": ["x", "y"]}, "must not hold the target, y"),
        ({"alpha": -1}, "greater than or equal to 0"),
        ({"alpha": float("inf")}, "finite"),
        ({"alpha": float("nan")}, "finite"),
        ({"memory": "some"}, "'window' or 'all'"),
        ({"memory": "all", "forgetting_factor": 0}, "greater than 0"),
        ({"memory": "all", "forgetting_factor": 1.5}, "less than or equal to 1"),
        ({"forgetting_factor": 0.5}, "forgetting_factor needs `memory: all`"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_what_a_model_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        LinearRegressionSpec.model_validate(PLAIN | changes)
    assert words in str(refusal.value)


def test_columns_that_do_not_fit_are_named_with_their_place() -> None:
    spec = LinearRegressionSpec.model_validate(PLAIN | {"features": ["x", "text", "gone"]})
    found = problems({"m": spec}, {"x": "bool", "text": "string", "y": "int64"})
    assert found == [
        (("m", "features", 1), "a model needs numbers, and text is a string"),
        (("m", "features", 2), "there is no column gone; there are x, text, y"),
    ]
    assert problems({"m": LinearRegressionSpec.model_validate(PLAIN)}, {"x": "float64", "y": "int64"}) == []
