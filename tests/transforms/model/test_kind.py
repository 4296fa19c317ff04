"""What kinds of models declare, and what is refused of models that do not fit the columns or each other."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from tests.more_kinds import more_kinds
from transforms.model.kind import ModelSpec, kinds, model_of, specification_of, suggested
from transforms.model.learn import model_columns, model_measures, problems
from transforms.model.spec import AnyModelSpec
from transforms.specification import ColumnType

LINEAR = {"kind": "linear_regression", "target": "y", "features": ["x"]}
TYPES: dict[str, ColumnType] = {"x": "float64", "y": "int64", "text": "string"}


@pytest.fixture
def two_more() -> Iterator[None]:
    with more_kinds():
        yield


def asked(**models: Any) -> dict[str, ModelSpec]:
    return TypeAdapter(dict[str, AnyModelSpec]).validate_python(models)


def test_kinds_stand_in_their_order_by_the_name_of_the_job_file(two_more: None) -> None:
    assert list(kinds()) == ["linear_regression", "mean_of", "smoothed"]
    for name, kind in kinds().items():
        assert kind.name == name and kind.spec.__doc__
        assert specification_of(name) is kind.spec


def test_a_kind_is_gone_when_its_file_is() -> None:
    with more_kinds():
        assert "mean_of" in kinds()
    assert list(kinds()) == ["linear_regression"]


@pytest.mark.parametrize(
    "written",
    [LINEAR, {"kind": "mean_of", "column": "x"}, {"kind": "smoothed", "column": "x"}],
    ids=lambda written: str(written["kind"]),
)
def test_the_learner_gives_the_figures_that_the_model_declares(two_more: None, written: dict[str, Any]) -> None:
    model = model_of(asked(m=written)["m"])
    (measure,) = model_measures(asked(m=written), TYPES)
    assert set(measure.columns) == {given.column for given in model.inputs}
    nothing = {field.name: pa.nulls(0, field.type) for field in measure.schema}
    finished = measure.learner.finish(nothing)
    for figure in model.figures:
        assert finished[figure.name].type == figure.type and figure.meaning and figure.title
    if model.prediction is not None:
        assert set(model.prediction.figures) <= set(finished)
    assert model.words and model.note.endswith(".")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"kind": "forest"}, "must be one of `linear_regression`, `mean_of`, `smoothed`"),
        ({"kind": ["mean_of"]}, "must be one of `linear_regression`, `mean_of`, `smoothed`"),
        ({}, "Field required"),
        ("mean_of", "valid dictionary"),
        ({"kind": "smoothed", "column": "x", "rate": 2}, "less than or equal to 1"),
        ({"kind": "mean_of", "column": "x", "rate": 1}, "Extra inputs"),
    ],
)
def test_a_model_is_held_to_the_specification_of_its_kind(two_more: None, written: Any, words: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        asked(m=written)
    assert words in str(refusal.value)


def test_where_there_is_one_kind_it_is_named() -> None:
    with pytest.raises(ValidationError) as refusal:
        asked(m={**LINEAR, "kind": "forest"})
    assert "must be `linear_regression`, the only kind of model that this version supports" in str(refusal.value)


def test_a_specification_is_written_as_it_was_read(two_more: None) -> None:
    written = {"m": {"kind": "smoothed", "column": "x", "rate": 0.25}}
    adapter = TypeAdapter(dict[str, AnyModelSpec])
    assert adapter.dump_python(adapter.validate_python(written), mode="json") == written
    assert adapter.validate_python(adapter.validate_python(written)) == adapter.validate_python(written)


def test_columns_that_a_kind_does_not_take_are_named_with_what_it_needs(two_more: None) -> None:
    smoothed = {"kind": "smoothed", "column": "text"}
    assert problems(asked(m=smoothed), TYPES) == [
        (("m", "column"), "a model needs float64 or int64, and text is a string")
    ]
    assert problems(asked(m={"kind": "mean_of", "column": "gone"}), TYPES) == [
        (("m", "column"), "there is no column gone; there are x, y, text")
    ]


def test_models_that_would_fill_one_column_with_two_types_are_refused(
    two_more: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = asked(one={"kind": "mean_of", "column": "x"}, two={"kind": "smoothed", "column": "x"})
    assert problems(models, TYPES) == []
    assert model_columns(models) == {"model", "n", "constant", "level", "direction"}
    of_two = type(model_of(models["two"]))
    figure = model_of(models["two"]).figures[1]
    for name, words in {
        "n": "its column n holds string, and that of one holds int64",
        "final": "its table would have two columns named final",
    }.items():
        renamed = type(figure)(name=name, type=pa.string(), meaning="a text", title="Text", place=9)
        monkeypatch.setattr(of_two, "figures", (renamed,))
        assert problems(models, TYPES) == [(("two",), words)]


def test_a_row_of_the_table_becomes_the_estimator_of_its_kind(two_more: None) -> None:
    models = asked(line=LINEAR, usual={"kind": "mean_of", "column": "y"})
    line = model_of(models["line"]).estimator({"n": 3, "intercept": 1.0, "coefficient_x": 2.0})
    assert line.predict(pd.DataFrame({"x": [5.0]})).tolist() == [11.0]
    assert model_of(models["usual"]).estimator({"n": 3, "constant": 4.0}).predict([[5.0]]).tolist() == [4.0]


def test_a_regression_of_the_last_column_on_the_others_is_suggested() -> None:
    spec = suggested(["a", "b", "c"])
    assert spec is not None
    assert spec.model_dump(exclude_unset=True) == {
        "kind": "linear_regression",
        "target": "c",
        "features": ("a", "b"),
    }
    assert suggested(["a"]) is None
