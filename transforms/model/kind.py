"""Kinds of models: each file or folder of `kinds` declares one, and everything that has to do with models asks it.

The job file's schema and its messages, the columns that a job reads, the tables, `plan`, `init` and the report come
from what is declared. A new kind of model is one file there.
"""

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BeforeValidator

from transforms.model import kinds as declared
from transforms.model.learner import Learner
from transforms.specification import NUMERIC, ColumnType, Spec

Numbers = npt.NDArray[np.float64]


def _served(kind: Any) -> Any:
    if not isinstance(kind, str) or kind not in kinds():
        raise ValueError(rule())
    return kind


SERVED: Final = BeforeValidator(_served)
"""What refuses a kind that there is not, in one sentence."""


class ModelSpec(Spec):
    """What every model is asked: its kind. A kind's own specification adds what else it asks."""

    kind: Annotated[str, SERVED]

    @classmethod
    def serving(cls, content: Any) -> "type[Spec]":
        """The specification of the kind that the content names."""
        return specification_of(content.get("kind")) if isinstance(content, Mapping) else cls


@dataclass(frozen=True, slots=True)
class Input:
    """A column that a model reads.

    Args:
        place: where the job file names it, within the model.
        takes: the types of columns that will do.
    """

    column: str
    place: tuple[str | int, ...]
    takes: frozenset[ColumnType] = NUMERIC

    @property
    def needs(self) -> str:
        """What it must be, as messages say it."""
        return "numbers" if self.takes == NUMERIC else " or ".join(sorted(self.takes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A column of the table of models that a model fills.

    Args:
        name: the column's name.
        type: the column's type.
        meaning: what it is, in a few words.
        title: what a report calls it.
        place: where it stands: columns come in the order of their places, those of one place as they are first named.
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
    """How a report tries what was known before a window on that window: means in, a mean out.

    Args:
        target: the column whose mean is predicted.
        inputs: the columns whose means it is predicted from.
        figures: the figures of the model that are needed; where one is not a number there is no model to try.
        predict: the prediction of each row, from its figures and its means in the order of `figures` and `inputs`.
    """

    target: str
    inputs: tuple[str, ...]
    figures: tuple[str, ...]
    predict: Callable[[Sequence[Numbers], Sequence[Numbers]], Numbers]


class Model(ABC):
    """A model of a job file: what a kind makes of what it was asked."""

    @property
    @abstractmethod
    def inputs(self) -> Sequence[Input]:
        """The columns it reads, and of which types they must be."""

    @property
    @abstractmethod
    def figures(self) -> Sequence[Figure]:
        """Its columns of the table of models, in the order of the report."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What it learns, as `plan` says it."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What it learns, as a sentence of the report."""

    @property
    def prediction(self) -> Prediction | None:
        """How the report tries it; None: not."""
        return None

    @abstractmethod
    def learner(self, columns: Mapping[str, ColumnType]) -> Learner:
        """What learns it, from columns that fit `inputs`."""

    @abstractmethod
    def estimator(self, row: Mapping[str, Any]) -> Any:
        """A row of the table of models as a fitted scikit-learn estimator.

        Raises:
            ValueError: if that row knows too little to predict.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """A kind of model.

    Args:
        name: what the job file calls it.
        order: its place among the kinds, where they are listed.
        spec: what the job file asks it, with `kind: Annotated[Literal[NAME], SERVED]`.
        model: makes a model of a specification of that type.
        suggest: what `init` suggests for these columns of numbers, the likeliest target last; None: nothing.
    """

    name: str
    order: int
    spec: type[ModelSpec]
    model: Callable[[Any], Model]
    suggest: Callable[[Sequence[str]], ModelSpec | None] = lambda numbers: None


_REGISTERED: Final[dict[str, ModelKind]] = {}


def register(kind: ModelKind) -> None:
    """Makes a kind known that is not a file of `kinds`: job files may name it from now on.

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
    modules = pkgutil.iter_modules(declared.__path__, f"{declared.__name__}.")
    found: list[ModelKind] = [import_module(module.name).KIND for module in modules]
    found += _REGISTERED.values()
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.order)}


def rule() -> str:
    """What a kind must be, as messages say it."""
    names = [f"`{name}`" for name in kinds()]
    if len(names) == 1:
        return f"must be {names[0]}, the one kind of model that this version serves"
    return f"must be one of {', '.join(names)}"


def specification_of(kind: object) -> type[ModelSpec]:
    """What a model of a kind is asked; where there is one kind, also of one that is not named or wrong."""
    if isinstance(kind, str) and kind in kinds():
        return kinds()[kind].spec
    return next(iter(kinds().values())).spec if len(kinds()) == 1 else ModelSpec


def model_of(spec: ModelSpec) -> Model:
    """The model that a specification asks for."""
    return kinds()[spec.kind].model(spec)


def suggested(numbers: Sequence[str]) -> ModelSpec | None:
    """A model to begin with, of columns of numbers, the likeliest target last; None: no kind has one to suggest."""
    suggestions = (kind.suggest(numbers) for kind in kinds().values())
    return next((spec for spec in suggestions if spec is not None), None)
