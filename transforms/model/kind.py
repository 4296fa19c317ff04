"""Kinds of models: each file or folder of `kinds` declares one, and everything about models is read from there.

The job file's schema and its messages, the columns that a job reads, the tables, `plan`, `init` and the report come
from what is declared. A new kind of model is one file there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BeforeValidator

from transforms.declared import declared_in
from transforms.model import kinds as declared
from transforms.model.learner import Learner
from transforms.specification import NUMERIC, ColumnType, Spec

Numbers = npt.NDArray[np.float64]


def _served(kind: Any) -> Any:
    if not isinstance(kind, str) or kind not in kinds():
        raise ValueError(rule())
    return kind


SERVED: Final = BeforeValidator(_served)
"""Refuses a kind that does not exist, in one sentence."""


class ModelSpec(Spec):
    """The specification that all models share: their kind. Each kind adds its own fields."""

    kind: Annotated[str, SERVED]

    @classmethod
    def serving(cls, content: Any) -> "type[Spec]":
        """The type of specification for the kind that the content names."""
        return specification_of(content.get("kind")) if isinstance(content, Mapping) else cls


@dataclass(frozen=True, slots=True)
class Input:
    """A column that a model reads.

    Args:
        place: where the job file names it, within the model.
        takes: the types that the column may have.
    """

    column: str
    place: tuple[str | int, ...]
    takes: frozenset[ColumnType] = NUMERIC

    @property
    def needs(self) -> str:
        """What it must be, in the words of a message."""
        return "numbers" if self.takes == NUMERIC else " or ".join(sorted(self.takes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A column of the table of models that a model fills.

    Args:
        name: the column's name.
        type: the column's type.
        meaning: what it is, in a few words.
        title: what a report calls it.
        place: its place among the columns; columns of equal place come in the order in which they are first named.
        is_amount: whether its zero means something, so that charts begin there.
    """

    name: str
    type: pa.DataType
    meaning: str
    title: str
    place: int
    is_amount: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """How a report applies the model before a window to that window: means in, a mean out.

    Args:
        target: the column whose mean is predicted.
        inputs: the columns whose means it is predicted from.
        figures: the figures of the model that are needed; where one is not a number, the model is not tried.
        predict: the prediction of each row, from its figures and its means in the order of `figures` and `inputs`.
    """

    target: str
    inputs: tuple[str, ...]
    figures: tuple[str, ...]
    predict: Callable[[Sequence[Numbers], Sequence[Numbers]], Numbers]


class Model(ABC):
    """A model of a job file, made by its kind from its specification."""

    @property
    @abstractmethod
    def inputs(self) -> Sequence[Input]:
        """The columns that it reads, and the types that they must have."""

    @property
    @abstractmethod
    def figures(self) -> Sequence[Figure]:
        """Its columns of the table of models, in the order of the report."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What it learns, in the words of `plan`."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What it learns, as a sentence of the report."""

    @property
    def prediction(self) -> Prediction | None:
        """How the report tries it; None: the report does not."""
        return None

    @abstractmethod
    def learner(self, columns: Mapping[str, ColumnType]) -> Learner:
        """The learner of the model, over columns that fit `inputs`."""

    @abstractmethod
    def estimator(self, row: Mapping[str, Any]) -> Any:
        """A row of the table of models as a fitted scikit-learn estimator.

        Raises:
            ValueError: if that row lacks what a prediction needs.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """A kind of model.

    Args:
        name: what the job file calls it.
        order: its place among the kinds, where they are listed.
        spec: the type of its specification, with `kind: Annotated[Literal[NAME], SERVED]`.
        model: makes a model of a specification of that type.
        suggest: what `init` suggests for columns of numbers, the likeliest target last; None: nothing.
    """

    name: str
    order: int
    spec: type[ModelSpec]
    model: Callable[[Any], Model]
    suggest: Callable[[Sequence[str]], ModelSpec | None] = lambda numbers: None


_REGISTERED: Final[dict[str, ModelKind]] = {}


def register(kind: ModelKind) -> None:
    """Registers a kind from outside `kinds`, so that job files can name it.

    Raises:
        ValueError: if its name is another kind's.
    """
    if kind.name in kinds() and _REGISTERED.get(kind.name) != kind:
        raise ValueError(f"a kind of model named {kind.name} is registered already")
    _REGISTERED[kind.name] = kind
    kinds.cache_clear()


@cache
def kinds() -> Mapping[str, ModelKind]:
    """Every kind of model by its name, in their order."""
    found: list[ModelKind] = [*declared_in(declared, "KIND"), *_REGISTERED.values()]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.order)}


def rule() -> str:
    """What a kind must be, in the words of a message."""
    names = [f"`{name}`" for name in kinds()]
    if len(names) == 1:
        return f"must be {names[0]}, the only kind of model that this version supports"
    return f"must be one of {', '.join(names)}"


def specification_of(kind: object) -> type[ModelSpec]:
    """The specification of a kind; if there is only one kind, it also stands in for a missing or wrong name."""
    if isinstance(kind, str) and kind in kinds():
        return kinds()[kind].spec
    return next(iter(kinds().values())).spec if len(kinds()) == 1 else ModelSpec


def model_of(spec: ModelSpec) -> Model:
    """The model that a specification asks for."""
    return kinds()[spec.kind].model(spec)


def suggested(numbers: Sequence[str]) -> ModelSpec | None:
    """A first model over columns of numbers, the likeliest target last; None: no kind suggests one."""
    suggestions = (kind.suggest(numbers) for kind in kinds().values())
    return next((spec for spec in suggestions if spec is not None), None)
