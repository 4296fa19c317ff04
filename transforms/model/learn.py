"""Models as figures of an aggregation: measured, merged and learnt together with its statistics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.groups import Groups, group
from transforms.aggregation.growth import numbered
from transforms.aggregation.spec import AggregationSpec, missing
from transforms.aggregation.summary import Summary, key_column
from transforms.aggregation.timeline import Windows, bounds, in_order, no_windows, published
from transforms.model.kind import Figure, ModelSpec, model_of
from transforms.model.learner import Learner, Memory
from transforms.record.batch import one_batch
from transforms.specification import ColumnType
from transforms.time.window import SLICE

MODEL: Final = "model"
_OURS: Final = frozenset({"window_start", "window_end", MODEL, "revision", "final"})
"""Columns of every table of models, in addition to those of the key."""


@dataclass(frozen=True, slots=True)
class ModelMeasure:
    """What one model of an aggregation keeps, and the columns of the table that it fills."""

    model: str
    figures: tuple[Figure, ...]
    learner: Learner

    @property
    def name(self) -> str:
        return f"{self.model}|{self.learner.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.learner.columns

    @property
    def schema(self) -> pa.Schema:
        return self.learner.schema

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        return self.learner.measure(batch, groups, arrival)

    def merge(self, state: State, groups: Groups) -> State:
        return self.learner.merge(state, groups)


def model_measures(models: Mapping[str, ModelSpec], columns: Mapping[str, ColumnType]) -> tuple[ModelMeasure, ...]:
    """The measure of every model of an aggregation over `columns`."""
    bound = {name: model_of(spec) for name, spec in models.items()}
    return tuple(ModelMeasure(name, tuple(m.figures), m.learner(columns)) for name, m in bound.items())


def columns_read(models: Mapping[str, ModelSpec]) -> set[str]:
    """The columns of records that models read."""
    return {given.column for spec in models.values() for given in model_of(spec).inputs}


def problems(
    models: Mapping[str, ModelSpec], columns: Mapping[str, ColumnType]
) -> list[tuple[tuple[str | int, ...], str]]:
    """What does not fit these columns, or each other: the place within `models`, and a sentence."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name, spec in models.items():
        for given in model_of(spec).inputs:
            kind = columns.get(given.column)
            if kind is None:
                found.append(((name, *given.place), missing(given.column, columns)))
            elif kind not in given.takes:
                sentence = f"a model needs {given.needs}, and {given.column} is a {kind}"
                found.append(((name, *given.place), sentence))
    return [*found, *_colliding(models)]


def _colliding(models: Mapping[str, ModelSpec]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    filled: dict[str, tuple[pa.DataType, str]] = {}
    for name, spec in models.items():
        taken = set(_OURS)
        for figure in model_of(spec).figures:
            kind, other = filled.setdefault(figure.name, (figure.type, name))
            if figure.name in taken:
                yield (name,), f"its table would have two columns named {figure.name}"
            elif kind != figure.type:
                yield (name,), f"its column {figure.name} holds {figure.type}, and that of {other} holds {kind}"
            taken.add(figure.name)


def model_columns(models: Mapping[str, ModelSpec]) -> set[str]:
    """The columns of AGGREGATION_models after its key; no key may have such a name."""
    figures = {figure.name for spec in models.values() for figure in model_of(spec).figures}
    return figures | {MODEL} if models else set()


@dataclass(frozen=True)
class ModelsOutput:
    """The table AGGREGATION_models: the aggregation's key, model, the figures of its models."""

    spec: AggregationSpec
    summary: Summary
    measures: Sequence[ModelMeasure]
    shows_early: ClassVar[bool] = False

    @property
    def table(self) -> str:
        return f"{self.spec.name}_models"

    @property
    def schema(self) -> pa.Schema:
        return self.rows(no_windows(self.summary), None)[0].schema

    def rows(self, windows: Windows, memory: pa.RecordBatch | None) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        lasting = [measure for measure in self.measures if measure.learner.memory is not None]
        learnt = learn(self.summary, lasting, windows.slices, memory) if lasting else None
        figures = self._figures()
        tables = []
        for measure in self.measures:
            if learnt is not None and measure in lasting:
                state = recall(self.summary, measure, learnt, windows.partial)
            else:
                state = self.summary.state(windows.partial, measure)
            finished, own = measure.learner.finish(state), {figure.name for figure in measure.figures}
            size = len(windows.starts)
            named = {
                figure.name: finished[figure.name] if figure.name in own else pa.nulls(size, figure.type)
                for figure in figures
            }
            keyed = bounds(windows, self.summary) | {MODEL: pa.array([measure.model] * size, pa.string())}
            columns = keyed | named | published(windows)
            types = {name: values.type for name, values in columns.items()} | {f.name: f.type for f in figures}
            tables.append(pa.RecordBatch.from_arrays(list(columns.values()), schema=pa.schema(list(types.items()))))
        joined = one_batch(tables)
        ordered = in_order(dict(zip(joined.schema.names, joined.columns, strict=True)), self.spec.key, [MODEL])
        return ordered, None if learnt is None else last_of_each_key(self.summary, learnt)

    def _figures(self) -> list[Figure]:
        """The columns that its models fill, in their order."""
        named: dict[str, Figure] = {}
        for figure in (figure for measure in self.measures for figure in measure.figures):
            named.setdefault(figure.name, figure)
        return sorted(named.values(), key=lambda figure: figure.place)


def learn(
    summary: Summary, measures: Sequence[ModelMeasure], slices: pa.RecordBatch, memory: pa.RecordBatch | None
) -> pa.RecordBatch:
    """What each key has learnt up to and including each of its slices; `memory` is what it knew before them.

    A scan by doubling (Hillis and Steele, "Data Parallel Algorithms", CACM 29, 1986): after a step of distance d
    every row knows its own slice and the 2d - 1 slices of its key before it.
    """
    names = [SLICE, *map(key_column, summary.key), *(f for m in measures for f in _fields(m))]
    known = one_batch([part.select(names) for part in (memory, slices) if part is not None])
    known = known.take(pa.array(_by_key_and_slice(summary, known)))
    first, size = _run_starts(summary, known), known.num_rows
    ordinals = summary.window.ordinals(as_numpy(known[SLICE]))
    states = [{name: known[f"{m.name}|{name}"] for name in m.schema.names} for m in measures]
    distance = 1
    while size and distance <= int((np.arange(size) - first).max()):
        later = np.flatnonzero(np.arange(size) - distance >= first)
        rows = group({"row": pa.array(np.concatenate((np.arange(size), later)))})
        for i, measure in enumerate(measures):
            forgets = _memory(measure)
            factors = forgets.factor ** (ordinals[later] - ordinals[later - distance]).astype(float)
            before = {name: values.take(pa.array(later - distance)) for name, values in states[i].items()}
            faded = forgets.fade(before, factors)
            both = {name: pa.concat_arrays([values, faded[name]]) for name, values in states[i].items()}
            states[i] = dict(measure.merge(both, rows))
        distance *= 2
    columns = [known[name] for name in names[: 1 + len(summary.key)]]
    columns += [state[name] for state, measure in zip(states, measures, strict=True) for name in measure.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=known.schema)


def recall(summary: Summary, measure: ModelMeasure, learnt: pa.RecordBatch, windows: pa.RecordBatch) -> State:
    """What the key of each window knew at the window's last slice, faded by the steps since the key last learnt."""
    keys = [SLICE, *map(key_column, summary.key)]
    asked = learnt.num_rows + np.arange(windows.num_rows)
    both = one_batch([learnt.select(keys), windows.select(keys)])
    order = _by_key_and_slice(summary, both)
    is_learnt = order < learnt.num_rows
    latest = np.maximum.accumulate(np.where(is_learnt, np.arange(len(order)), -1))
    place = np.empty(len(order), np.int64)
    place[order] = order[latest]
    source = place[asked]
    ordinals = summary.window.ordinals(as_numpy(both[SLICE]))
    forgets = _memory(measure)
    factors = forgets.factor ** (ordinals[asked] - ordinals[source]).astype(float)
    state = {name: learnt[f"{measure.name}|{name}"].take(pa.array(source)) for name in measure.schema.names}
    return forgets.fade(state, factors)


def last_of_each_key(summary: Summary, learnt: pa.RecordBatch) -> pa.RecordBatch:
    """The last row of each key, from which later windows continue."""
    first = _run_starts(summary, learnt)
    last = np.flatnonzero(np.diff(first, append=-1))
    return learnt.take(pa.array(last))


def _memory(measure: ModelMeasure) -> Memory:
    if measure.learner.memory is None:
        raise AssertionError(f"{measure.name} has no memory")
    return measure.learner.memory


def _fields(measure: ModelMeasure) -> list[str]:
    return [f"{measure.name}|{name}" for name in measure.schema.names]


def _key_ids(summary: Summary, batch: pa.RecordBatch) -> npt.NDArray[np.intp]:
    return numbered({name: batch[name] for name in map(key_column, summary.key)}, batch.num_rows)


def _by_key_and_slice(summary: Summary, batch: pa.RecordBatch) -> npt.NDArray[np.intp]:
    """The stable order by key, then slice: of equal slices, the learnt row comes before the window that asks for it."""
    return np.lexsort((as_numpy(batch[SLICE]), _key_ids(summary, batch)))


def _run_starts(summary: Summary, batch: pa.RecordBatch) -> npt.NDArray[np.intp]:
    """For each row of a batch sorted by key, the first row of its key."""
    ids = _key_ids(summary, batch)
    changes = np.r_[True, ids[1:] != ids[:-1]] if len(ids) else np.empty(0, bool)
    return np.maximum.accumulate(np.where(changes, np.arange(len(ids)), 0))
