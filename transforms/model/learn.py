"""Models as figures of an aggregation: measured, merged and fitted beside its statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.groups import Groups, group
from transforms.aggregation.spec import AggregationSpec, missing
from transforms.aggregation.summary import SLICE, Summary, key_column
from transforms.aggregation.timeline import Windows, bounds, in_order, no_windows, published
from transforms.model.kinds.linear_regression.comoments import CoMoments
from transforms.model.kinds.linear_regression.fit import columns, fit
from transforms.model.kinds.linear_regression.spec import LinearRegressionSpec
from transforms.record.batch import one_batch
from transforms.specification import NUMERIC, ColumnType

MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class RegressionMeasure:
    """The co-moments that a linear regression is fitted from."""

    model: str
    spec: LinearRegressionSpec

    @property
    def name(self) -> str:
        return f"{self.model}|regression"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.spec.features, self.spec.target)

    @property
    def moments(self) -> CoMoments:
        return CoMoments(len(self.columns))

    @property
    def schema(self) -> pa.Schema:
        return self.moments.schema

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        return self.moments.measure([batch[name] for name in self.columns], groups)

    def merge(self, state: State, groups: Groups) -> State:
        return self.moments.merge(state, groups)

    def fade(self, state: State, factors: npt.NDArray[np.float64]) -> State:
        """The state with each group's rows weighing `factors` times as much."""
        n, weight, pivot, delta, factor = self.moments.arrays(state)
        return self.moments.state(n, weight * factors, pivot, delta, factor * np.sqrt(factors)[:, None])


def problems(
    models: Mapping[str, LinearRegressionSpec], columns: Mapping[str, ColumnType]
) -> list[tuple[tuple[str | int, ...], str]]:
    """What does not fit these columns: the place within `models`, and a sentence."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name, spec in models.items():
        features = (((name, "features", i), feature) for i, feature in enumerate(spec.features))
        for place, column in [((name, "target"), spec.target), *features]:
            if column not in columns:
                found.append((place, missing(column, columns)))
            elif columns[column] not in NUMERIC:
                found.append((place, f"a model needs numbers, and {column} is a {columns[column]}"))
    return found


def model_columns(models: Mapping[str, LinearRegressionSpec]) -> set[str]:
    """The columns of AGGREGATION_models behind its key; no key may have such a name."""
    coefficients = {f"coefficient_{feature}" for spec in models.values() for feature in spec.features}
    return coefficients | {MODEL, "n", "intercept", "r2", "rmse"} if models else set()


@dataclass(frozen=True)
class ModelsOutput:
    """The table AGGREGATION_models: the aggregation's key, model, n, intercept, coefficient_FEATURE …, r2, rmse."""

    spec: AggregationSpec
    summary: Summary
    measures: Sequence[RegressionMeasure]
    shows_early: ClassVar[bool] = False

    @property
    def table(self) -> str:
        return f"{self.spec.name}_models"

    @property
    def schema(self) -> pa.Schema:
        return self.rows(no_windows(self.summary), None)[0].schema

    def rows(self, windows: Windows, memory: pa.RecordBatch | None) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        lasting = [measure for measure in self.measures if measure.spec.memory == "all"]
        learnt = learn(self.summary, lasting, windows.slices, memory) if lasting else None
        features = list(dict.fromkeys(f"coefficient_{f}" for m in self.measures for f in m.spec.features))
        tables = []
        for measure in self.measures:
            if learnt is not None and measure in lasting:
                state = recall(self.summary, measure, learnt, windows.partial)
            else:
                state = self.summary.state(windows.partial, measure)
            fitted = columns(fit(state, measure.spec), measure.spec)
            size = len(windows.starts)
            unused = {name: pa.nulls(size, pa.float64()) for name in features if name not in fitted}
            named = {MODEL: pa.array([measure.model] * size, pa.string())} | fitted | unused
            order = [MODEL, "n", "intercept", *features, "r2", "rmse"]
            keyed = bounds(windows, self.summary) | {name: named[name] for name in order} | published(windows)
            tables.append(pa.RecordBatch.from_arrays(list(keyed.values()), names=list(keyed)))
        joined = one_batch(tables)
        ordered = in_order(dict(zip(joined.schema.names, joined.columns, strict=True)), self.spec.key, [MODEL])
        return ordered, None if learnt is None else last_of_each_key(self.summary, learnt)


def learn(
    summary: Summary, measures: Sequence[RegressionMeasure], slices: pa.RecordBatch, memory: pa.RecordBatch | None
) -> pa.RecordBatch:
    """What each key has learnt up to and including each of its slices, `memory` being what it knew before.

    A scan by doubling (Hillis and Steele, "Data Parallel Algorithms", CACM 29, 1986): after step d every row
    knows its own and the 2d - 1 slices of its key before it.
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
            factors = measure.spec.forgetting_factor ** (ordinals[later] - ordinals[later - distance]).astype(float)
            before = {name: values.take(pa.array(later - distance)) for name, values in states[i].items()}
            faded = measure.fade(before, factors)
            both = {name: pa.concat_arrays([values, faded[name]]) for name, values in states[i].items()}
            states[i] = dict(measure.merge(both, rows))
        distance *= 2
    columns = [known[name] for name in names[: 1 + len(summary.key)]]
    columns += [state[name] for state, measure in zip(states, measures, strict=True) for name in measure.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=known.schema)


def recall(summary: Summary, measure: RegressionMeasure, learnt: pa.RecordBatch, windows: pa.RecordBatch) -> State:
    """What the key of each window knew at the window's last slice, faded by the steps since it last learnt."""
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
    factors = measure.spec.forgetting_factor ** (ordinals[asked] - ordinals[source]).astype(float)
    state = {name: learnt[f"{measure.name}|{name}"].take(pa.array(source)) for name in measure.schema.names}
    return measure.fade(state, factors)


def last_of_each_key(summary: Summary, learnt: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that later windows go on from."""
    first = _run_starts(summary, learnt)
    last = np.flatnonzero(np.diff(first, append=-1))
    return learnt.take(pa.array(last))


def _fields(measure: RegressionMeasure) -> list[str]:
    return [f"{measure.name}|{name}" for name in measure.schema.names]


def _key_ids(summary: Summary, batch: pa.RecordBatch) -> npt.NDArray[np.intp]:
    if not summary.key:
        return np.zeros(batch.num_rows, np.intp)
    groups = group({name: batch[key_column(name)] for name in summary.key})
    ids = np.empty(batch.num_rows, np.intp)
    ids[groups.order] = groups.members()
    return ids


def _by_key_and_slice(summary: Summary, batch: pa.RecordBatch) -> npt.NDArray[np.intp]:
    """The stable order by key, then slice: of equal ones, what was learnt comes before who asks."""
    return np.lexsort((as_numpy(batch[SLICE]), _key_ids(summary, batch)))


def _run_starts(summary: Summary, batch: pa.RecordBatch) -> npt.NDArray[np.intp]:
    """For each row of a batch sorted by key, the first row of its key."""
    ids = _key_ids(summary, batch)
    changes = np.r_[True, ids[1:] != ids[:-1]] if len(ids) else np.empty(0, bool)
    return np.maximum.accumulate(np.where(changes, np.arange(len(ids)), 0))
