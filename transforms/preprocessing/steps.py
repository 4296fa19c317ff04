"""Steps that change a batch between reading and counting, one kernel per step.

A kernel takes a batch and returns the new batch, the rows on which it failed, and how many rows it dropped. Each step
is planned once against its input columns; that is when its mistakes are found.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.preprocessing import spec as specs
from transforms.preprocessing.expressions import Expression, ExpressionError, check_expression, evaluate
from transforms.preprocessing.function import AppliedFunction, plan_function
from transforms.preprocessing.result import unfit
from transforms.record.batch import ARROW, RESERVED, set_column
from transforms.record.dead_letter import shown
from transforms.record.hashing import hash_rows
from transforms.specification import ColumnType, Spec, name_in
from transforms.time.text import read_time_text

Columns = Mapping[str, ColumnType]


class StepError(ValueError):
    """A step that does not fit the columns; `place` is the place within the step."""

    def __init__(self, place: tuple[str | int, ...], sentence: str):
        super().__init__(sentence)
        self.place = place


@dataclass(frozen=True, slots=True)
class Stepped:
    """The result of a step: `failed` maps rows of its input batch to the detail of the reason."""

    batch: pa.RecordBatch
    failed: Mapping[int, str] = field(default_factory=dict)
    filtered: int = 0


Kernel = Callable[[pa.RecordBatch], Stepped]


@dataclass(frozen=True)
class Step:
    """A planned step: its name, its kernel, the columns after it, and the reason for records on which it fails."""

    name: str
    kernel: Kernel
    columns: Columns
    reason: str | None = None


def plan_step(step: Spec, columns: Columns) -> Step:
    """Binds a step to its input columns.

    Raises:
        StepError: if it names a missing column, or one of the wrong type, or cannot work.
    """
    planned: Step = _PLANS[name_in(step)](step, columns)
    for added in planned.columns:
        if added not in columns:
            _check_name(added, planned)
    return planned


def _check_name(name: str, planned: Step) -> None:
    place = (planned.name, name) if planned.name == "derive" else (planned.name,)
    if name in RESERVED or not name:
        raise StepError(place, f"{name!r} is reserved")
    twins = [other for other in planned.columns if other != name and other.casefold() == name.casefold()]
    if twins:
        raise StepError(place, f"{name} differs from {twins[0]} only in case, which SQL ignores")


def _need(
    columns: Columns,
    names: Mapping[str, object] | tuple[str, ...],
    place: tuple[str, ...],
    types: frozenset[ColumnType],
) -> None:
    for index, name in enumerate(names):
        where: tuple[str | int, ...] = (*place, name if isinstance(names, Mapping) else index)
        if name not in columns:
            raise StepError(where, f"there is no column {name} at this step; there are {', '.join(columns)}")
        if columns[name] not in types:
            raise StepError(where, f"{name} is a {columns[name]}; {place[0]} needs {' or '.join(sorted(types))}")


_ANY: Final[frozenset[ColumnType]] = frozenset(ARROW)


@dataclass(frozen=True)
class Trim:
    names: tuple[str, ...]

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        for name in self.names:
            batch = set_column(batch, name, pc.utf8_trim_whitespace(batch[name]))
        return Stepped(batch)


def _plan_trim(step: specs.TrimSpec, columns: Columns) -> Step:
    _need(columns, step.trim, ("trim",), frozenset({"string"}))
    return Step("trim", Trim(step.trim), columns)


@dataclass(frozen=True)
class DropNulls:
    names: tuple[str, ...]

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        present = np.ones(batch.num_rows, bool)
        for name in self.names:
            if batch[name].null_count:
                present &= batch[name].is_valid().to_numpy(zero_copy_only=False)
        return _keep(batch, present)


def _plan_drop_nulls(step: specs.DropNullsSpec, columns: Columns) -> Step:
    _need(columns, step.drop_nulls, ("drop_nulls",), _ANY)
    return Step("drop_nulls", DropNulls(step.drop_nulls), columns)


@dataclass(frozen=True)
class Fill:
    values: Mapping[str, pa.Scalar]

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        for name, value in self.values.items():
            if batch[name].null_count:
                batch = set_column(batch, name, pc.fill_null(batch[name], value))
        return Stepped(batch)


def _plan_fill(step: specs.FillSpec, columns: Columns) -> Step:
    _need(columns, step.fill, ("fill",), _ANY)
    values = {name: _fitting(name, value, columns[name]) for name, value in step.fill.items()}
    return Step("fill", Fill(values), columns)


def _fitting(name: str, value: object, kind: ColumnType) -> pa.Scalar:
    written = {"string": str, "bool": bool, "int64": int, "float64": int | float, "timestamp": str}[kind]
    try:
        if not isinstance(value, written) or (isinstance(value, bool) and kind != "bool"):
            raise TypeError
        given = _instant(str(value)) if kind == "timestamp" else float(value) if kind == "float64" else value
        scalar = pa.scalar(given, ARROW[kind])
        if unfit(pa.array([scalar], ARROW[kind])):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise StepError(("fill", name), f"{shown(value)} is not a {kind}, which is the type of {name}") from None
    return scalar


def _instant(text: str) -> int:
    """µs since the epoch of a time in the records' grammar, read in UTC if it has no offset."""
    time = read_time_text(text)
    if time is None:
        raise ValueError
    return time.micros


@dataclass(frozen=True)
class Clip:
    bounds: Mapping[str, tuple[pa.Scalar | None, pa.Scalar | None]]

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        for name, (low, high) in self.bounds.items():
            values = batch[name]
            if low is not None:
                values = pc.max_element_wise(values, low, skip_nulls=False)
            if high is not None:
                values = pc.min_element_wise(values, high, skip_nulls=False)
            batch = set_column(batch, name, values)
        return Stepped(batch)


def _plan_clip(step: specs.ClipSpec, columns: Columns) -> Step:
    _need(columns, step.clip, ("clip",), frozenset({"int64", "float64"}))
    bounds = {
        name: (_bound(name, low, columns[name]), _bound(name, high, columns[name]))
        for name, (low, high) in step.clip.items()
    }
    return Step("clip", Clip(bounds), columns)


def _bound(name: str, bound: float | None, kind: ColumnType) -> pa.Scalar | None:
    if bound is None:
        return None
    try:
        if kind == "int64" and bound != int(bound):
            raise ValueError
        return pa.scalar(int(bound) if kind == "int64" else float(bound), ARROW[kind])
    except (ValueError, OverflowError):
        raise StepError(("clip", name), f"{bound!r} is not a valid bound for {name}, which is {kind}") from None


@dataclass(frozen=True)
class Derive:
    expressions: Mapping[str, Expression]

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        failed: dict[int, str] = {}
        derived = batch
        for name, expression in self.expressions.items():
            values, why = evaluate(expression, derived)
            derived = set_column(derived, name, values)
            for row, detail in why.items():
                failed.setdefault(row, f"{name}: {detail}")
        if failed:
            derived = derived.filter(pa.array(_others(derived.num_rows, failed)))
        return Stepped(derived, failed)


def _plan_derive(step: specs.DeriveSpec, columns: Columns) -> Step:
    after, expressions = dict(columns), {}
    for name, sql in step.derive.items():
        try:
            expressions[name] = check_expression(sql, after)
        except ExpressionError as error:
            raise StepError(("derive", name), f"{error} (`{sql}`)") from None
        after[name] = expressions[name].type
    return Step("derive", Derive(expressions), after, "expression_failed")


@dataclass(frozen=True)
class Filter:
    condition: Expression

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        values, failed = evaluate(self.condition, batch)
        kept = values.fill_null(False).to_numpy(zero_copy_only=False)
        return Stepped(batch.filter(pa.array(kept)), failed, int(batch.num_rows - kept.sum() - len(failed)))


def _plan_filter(step: specs.FilterSpec, columns: Columns) -> Step:
    try:
        condition = check_expression(step.filter, columns)
    except ExpressionError as error:
        raise StepError(("filter",), f"{error} (`{step.filter}`)") from None
    if condition.type != "bool":
        raise StepError(("filter",), f"must be a condition, and gives a {condition.type} (`{step.filter}`)")
    return Step("filter", Filter(condition), columns, "expression_failed")


@dataclass(frozen=True)
class Pseudonymise:
    names: tuple[str, ...]
    key_env: str

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        key = os.environ[self.key_env].encode()
        for name in self.names:
            encoded = batch[name].cast(pa.string()).dictionary_encode()
            digests = [
                hmac.new(key, value.encode(), hashlib.sha256).hexdigest() for value in encoded.dictionary.to_pylist()
            ]
            batch = set_column(batch, name, pa.array(digests, pa.string()).take(encoded.indices))
        return Stepped(batch)


def _plan_pseudonymise(step: specs.PseudonymiseSpec, columns: Columns) -> Step:
    wanted = step.pseudonymise
    _need(columns, wanted.columns, ("pseudonymise", "columns"), frozenset({"string", "int64"}))
    if not os.environ.get(wanted.key_env):
        raise StepError(("pseudonymise", "key_env"), f"the environment variable {wanted.key_env} is not set")
    return Step(
        "pseudonymise",
        Pseudonymise(wanted.columns, wanted.key_env),
        {**columns, **dict.fromkeys(wanted.columns, "string")},
    )


@dataclass(frozen=True)
class SplitRows:
    parts: tuple[str, ...]
    bounds: tuple[float, ...]
    by: tuple[str, ...]

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        hashes = hash_rows([batch[name] for name in self.by], batch.num_rows)
        # The upper 53 bits as a number in [0, 1): each of them is exact in float64.
        place = (hashes >> np.uint64(11)).astype(np.float64) / float(1 << 53)
        chosen = np.searchsorted(np.array(self.bounds), place, side="right")
        return Stepped(set_column(batch, "split", pa.array(self.parts, pa.string()).take(pa.array(chosen))))


def _plan_split(step: specs.SplitSpec, columns: Columns) -> Step:
    _need(columns, step.split.by, ("split", "by"), _ANY)
    if "split" in columns:
        raise StepError(("split",), "there already is a column `split`")
    bounds = np.cumsum(list(step.split.into.values()))[:-1].tolist()
    return Step(
        "split", SplitRows(tuple(step.split.into), tuple(bounds), step.split.by), {**columns, "split": "string"}
    )


@dataclass(frozen=True)
class Apply:
    function: AppliedFunction

    def __call__(self, batch: pa.RecordBatch) -> Stepped:
        applied, failed = self.function(batch)
        return Stepped(applied, failed)


def _plan_apply(step: specs.ApplySpec, columns: Columns) -> Step:
    try:
        function = plan_function(step.apply, columns)
    except ValueError as error:
        raise StepError(("apply",), str(error)) from None
    return Step("apply", Apply(function), function.columns, "apply_failed")


_PLANS: Final[Mapping[str, Callable[..., Step]]] = {
    "trim": _plan_trim,
    "drop_nulls": _plan_drop_nulls,
    "fill": _plan_fill,
    "clip": _plan_clip,
    "derive": _plan_derive,
    "filter": _plan_filter,
    "pseudonymise": _plan_pseudonymise,
    "split": _plan_split,
    "apply": _plan_apply,
}


def _keep(batch: pa.RecordBatch, kept: npt.NDArray[np.bool_]) -> Stepped:
    dropped = int(batch.num_rows - kept.sum())
    return Stepped(batch.filter(pa.array(kept)) if dropped else batch, {}, dropped)


def _others(rows: int, failed: Mapping[int, str]) -> npt.NDArray[np.bool_]:
    good = np.ones(rows, bool)
    good[list(failed)] = False
    return good
