"""The user's functions: from a pandas DataFrame of a batch to another one.

A nullable int64 or bool column arrives as pandas' `Int64` or `boolean`, so that nulls cost no digits; text as
`object`, times as `datetime64[us, UTC]`. The value rules of the columns convert the result; records on which the
function or this conversion fails are isolated.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.preprocessing.result import unfit
from transforms.record.batch import ARROW, RESERVED, set_column
from transforms.specification import ColumnType, repeated

Columns = Mapping[str, ColumnType]
Function = Callable[[pd.DataFrame], pd.DataFrame]
_EXTENSION: Final = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


@dataclass(frozen=True)
class AppliedFunction:
    """A function by its name, and the columns of its result."""

    name: str
    columns: Columns

    @cached_property
    def function(self) -> Function:
        return _load(self.name)

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "columns": self.columns}

    def __call__(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
        """The batch with the function's columns, without the rows that failed; and the reasons of these.

        Raises:
            ValueError: if this process cannot import the function, which is not the fault of a record.
        """
        return self._apply(self.function, batch, 0)

    def _apply(self, function: Function, batch: pa.RecordBatch, first: int) -> tuple[pa.RecordBatch, dict[int, str]]:
        # A user's function may raise anything; every exception counts as the record's failure, not the job's.
        try:
            applied = self._once(function, batch)
            return self._without_unfit(applied, first)
        except Exception as error:  # noqa: BLE001
            if batch.num_rows <= 1:
                failed = {first: f"{type(error).__name__}: {error}"} if batch.num_rows else {}
                return self._nothing(batch), failed
        half = batch.num_rows // 2
        left, failed = self._apply(function, batch.slice(0, half), first)
        right, more = self._apply(function, batch.slice(half), first + half)
        return pa.concat_batches([left, right]), failed | more

    def _once(self, function: Function, batch: pa.RecordBatch) -> pa.RecordBatch:
        frame = to_frame(batch)
        given = function(frame.copy())
        _check_shape(given, frame, self.name)
        for name, kind in self.columns.items():
            if name not in given.columns:
                raise ValueError(f"{self.name} gave no column {name}")
            batch = set_column(batch, name, _from_pandas(given[name], kind))
        return batch

    def _without_unfit(self, batch: pa.RecordBatch, first: int) -> tuple[pa.RecordBatch, dict[int, str]]:
        failed: dict[int, str] = {}
        for name in self.columns:
            for row, why in unfit(batch[name]).items():
                failed.setdefault(first + row, f"{self.name} gave {name} a value that no column can hold: {why}")
        if failed:
            good = np.ones(batch.num_rows, bool)
            good[[row - first for row in failed]] = False
            batch = batch.filter(pa.array(good))
        return batch, failed

    def _nothing(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        batch = batch.slice(0, 0)
        for name, kind in self.columns.items():
            batch = set_column(batch, name, pa.nulls(0, ARROW[kind]))
        return batch


def to_frame(batch: pa.RecordBatch) -> pd.DataFrame:
    """The user's columns as a DataFrame with the index 0 … n-1."""
    names = [name for name in batch.schema.names if name not in RESERVED]
    return batch.select(names).to_pandas(types_mapper=_EXTENSION.get)


def plan_function(name: str, columns: Columns) -> AppliedFunction:
    """Finds the function and learns its columns by calling it on an empty frame.

    Raises:
        ValueError: if it cannot be imported, or fails on an empty frame.
    """
    empty = pa.record_batch([pa.nulls(0, ARROW[kind]) for kind in columns.values()], names=list(columns))
    frame = to_frame(empty)
    function = _load(name)
    try:
        given = function(frame.copy())
        _check_shape(given, frame, name)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} fails on a frame without rows: {type(error).__name__}: {error}") from error
    _check_names(given, name)
    lost = [column for column in columns if column not in given.columns]
    if lost:
        raise ValueError(f"{name} must keep every column, and drops {', '.join(lost)}")
    found = {column: _column_type(given[column].dtype, name, column) for column in given.columns}
    return AppliedFunction(name, {**found, **columns})


def _load(name: str) -> Function:
    module, _, attribute = name.partition(":")
    try:
        function: Function = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # importing a module runs it, which may raise anything
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    return function


def _check_shape(given: object, frame: pd.DataFrame, name: str) -> None:
    if not isinstance(given, pd.DataFrame):
        raise TypeError(f"{name} must give a DataFrame, and gave a {type(given).__name__}")
    if len(given) != len(frame) or not given.index.equals(frame.index):
        raise ValueError(f"{name} must keep the index, and gave {len(given)} rows for {len(frame)}")


def _check_names(given: pd.DataFrame, name: str) -> None:
    odd = [column for column in given.columns if not isinstance(column, str)]
    if odd:
        raise ValueError(f"{name} must name columns by text, and gives {odd[0]!r}")
    if doubled := repeated(given.columns):
        raise ValueError(f"{name} gives two columns {doubled[0]}")


def _column_type(dtype: Any, name: str, column: str) -> ColumnType:
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_integer_dtype(dtype):
        return "int64"
    if pd.api.types.is_float_dtype(dtype):
        return "float64"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "timestamp"
    if pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype):
        return "string"
    raise ValueError(f"{name} gives {column} as {dtype}, which is not a column type")


def _from_pandas(values: "pd.Series[Any]", kind: ColumnType) -> pa.Array:
    """A column in its type; NaN becomes null.

    Raises:
        ValueError: if a value cannot be converted without losing something.
    """
    if kind == "timestamp" and values.dt.tz is None:
        values = values.dt.tz_localize("UTC")
    converted = pa.Array.from_pandas(values)
    if isinstance(converted, pa.ChunkedArray):
        converted = converted.combine_chunks()
    if pa.types.is_null(converted.type):
        return pa.nulls(len(converted), ARROW[kind])
    # A time loses fractions of a microsecond and a large integer its last digits; nothing else may be lost.
    loses = kind == "timestamp" or (kind == "float64" and pa.types.is_integer(converted.type))
    cast = converted.cast(ARROW[kind], safe=not loses)
    if kind == "bool" and not pc.all(pc.equal(cast.cast(converted.type), converted), min_count=0).as_py():
        raise ValueError(f"{values.name} is neither true nor false")
    return cast
