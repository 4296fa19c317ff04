"""One aggregation's part of the page: its charts, its tables, and their sentences."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time

import pyarrow as pa
import pyarrow.compute as pc

from dataflow.report.cells import Cell, Grid, cell, first_rows, ranking_cell
from dataflow.report.charts import Chart, FigureId, is_amount, line_kind, predicted_by, statistic_words
from dataflow.report.data import AggregationView, statistic_column
from dataflow.report.keys import value_text
from dataflow.report.series import FIGURE_BYTES, Series, build_series
from transforms.model.kind import Figure, Model, Prediction

PREVIEW_ROWS = 10
# Latest values are written out for each key, so they get this share of the bytes for figures.
LATEST_SHARE = 0.1
# The characters of markup around a row of latest values, and around an entry of a ranking.
ROW_MARKUP, ENTRY_MARKUP = 160, 50


@dataclass(frozen=True, slots=True)
class Panel:
    """Charts under one heading, with a note on them and a sentence on what they lack."""

    title: str
    note: str
    charts: tuple[Chart, ...]
    lack: str = ""


@dataclass(frozen=True, slots=True)
class LatestRow:
    """The values of one key's latest window; `rank` is the key's place among the keys on the page."""

    rank: int
    label: str
    window: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class LatestValues:
    """Values that cannot be drawn over time: one row for each key, keys with most rows first."""

    columns: tuple[str, ...]
    rows: tuple[LatestRow, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Everything the template needs of one aggregation."""

    view: AggregationView
    facts: str
    notes: tuple[str, ...]
    series: Series
    panels: tuple[Panel, ...]
    latest: LatestValues
    previews: tuple[tuple[str, Grid], ...]


def embedded_bytes(view: AggregationView) -> int:
    """Estimates how much JSON the whole aggregation would be."""
    rows: int = view.table.num_rows
    return rows * FIGURE_BYTES * len(_figures(view))


def build_section(view: AggregationView, budget_bytes: int) -> Section:
    """Describes an aggregation in charts, tables and words, with no more than about `budget_bytes` of figures."""
    figures = _figures(view)
    series = build_series(view, figures, budget_bytes)
    previews = [(view.name, first_rows(view.table, PREVIEW_ROWS))]
    if view.models_table is not None:
        previews.append((f"{view.name}_models", first_rows(view.models_table, PREVIEW_ROWS)))
    return Section(
        view,
        _facts(view, series.coverage.all_keys),
        tuple(_notes(view, series)),
        series,
        tuple(_panels(view, figures)),
        _latest(view, series, int(LATEST_SHARE * budget_bytes)),
        tuple(previews),
    )


def window_words(start: datetime, end: datetime) -> str:
    """Names a window by its bounds, both in UTC; whole days without the time.

    >>> window_words(datetime(2026, 1, 1), datetime(2026, 1, 2))
    '2026-01-01 to 2026-01-02'
    """
    if all(bound.time() == time.min for bound in (start, end)):
        return f"{start.date()} to {end.date()}"
    return f"{value_text(start)} to {value_text(end)}".replace(" UTC to", " to")


def _figures(view: AggregationView) -> list[FigureId]:
    names = ["rows", *(name for _, _, name in _statistics(view) if _is_numeric(view.table.schema.field(name).type))]
    figures = [FigureId(name) for name in names]
    for name, model in view.models.items():
        figures += [FigureId(figure.name, name) for figure in model.figures if _is_drawn(view, figure)]
        if (prediction := _tried(view, model)) is not None:
            figures += [predicted_by(name), _observed(prediction)]
    return list(dict.fromkeys(figures))


def _statistics(view: AggregationView) -> Iterator[tuple[str, str, str]]:
    """Yields (column, statistic, table column) of each statistic that is stored."""
    for column, statistics in view.statistics.items():
        for statistic in statistics:
            name = statistic_column(column, statistic)
            if name in view.table.column_names:
                yield column, statistic, name


def _panels(view: AggregationView, figures: Sequence[FigureId]) -> Iterator[Panel]:
    at = {figure: position for position, figure in enumerate(figures)}
    statistics = [
        Chart(
            kind=line_kind(is_amount(statistic)),
            title=f"{statistic_words(statistic)} of {column}",
            column=name,
            positions=(at[FigureId(name)],),
        )
        for column, statistic, name in _statistics(view)
        if FigureId(name) in at
    ]
    rows = Chart(kind="line_from_zero", title="Rows in each window", column="rows", positions=(0,))
    yield Panel("Statistics", "", (rows, *statistics))
    for name, model in view.models.items():
        yield _model_panel(view, name, model, at)


def _model_panel(view: AggregationView, name: str, model: Model, at: dict[FigureId, int]) -> Panel:
    charts = [
        Chart(
            kind=line_kind(figure.is_amount),
            title=figure.title,
            column=figure.name,
            positions=(at[FigureId(figure.name, name)],),
        )
        for figure in model.figures
        if FigureId(figure.name, name) in at
    ]
    note, prediction = model.note, _tried(view, model)
    if prediction is not None:
        title = f"Mean {prediction.target}: observed against predicted"
        observed = _observed(prediction)
        positions = (at[predicted_by(name)], at[observed])
        charts.append(Chart(kind="scatter", title=title, column=observed.column, positions=positions))
        note += " Observed against predicted is one step ahead: the model from before a window began, applied to it."
    return Panel(f"Model {name}", note, tuple(charts), _lack(view, model))


def _is_drawn(view: AggregationView, figure: Figure) -> bool:
    """Whether a figure of a model is stored and numeric."""
    schema = view.models_table.schema if view.models_table is not None else pa.schema([])
    return figure.name in schema.names and _is_numeric(schema.field(figure.name).type)


def _observed(prediction: Prediction) -> FigureId:
    return FigureId(statistic_column(prediction.target, "mean"))


def _lack(view: AggregationView, model: Model) -> str:
    """The sentence on what is missing for observed against predicted."""
    if view.models_table is None:
        return "The models of this aggregation are not stored, so there is nothing to draw."
    missing = _missing_means(view, model.prediction)
    if not missing:
        return ""
    add = _listed([f"`mean` to the statistics of `{column}`" for column in missing])
    return f"To see observed against predicted here, add {add} in the job file."


def _missing_means(view: AggregationView, prediction: Prediction | None) -> list[str]:
    columns = dict.fromkeys((prediction.target, *prediction.inputs) if prediction is not None else ())
    return [column for column in columns if statistic_column(column, "mean") not in view.table.column_names]


def _tried(view: AggregationView, model: Model) -> Prediction | None:
    """How the model is tried on later windows, if everything that this needs is stored."""
    prediction = model.prediction
    if prediction is None or view.models_table is None or _missing_means(view, prediction):
        return None
    return prediction if set(prediction.figures) <= set(view.models_table.column_names) else None


def _facts(view: AggregationView, key_count: int) -> str:
    if not view.table.num_rows:
        return "No window holds a record, so there is nothing to draw."
    windows = view.table.group_by(["window_start", "window_end"]).aggregate([]).num_rows
    span = window_words(pc.min(view.table["window_start"]).as_py(), pc.max(view.table["window_end"]).as_py())
    keys = _counted(key_count, "key") + ", " if view.key else ""
    # Non-breaking hyphens keep a date on one line of a phone.
    unbroken = span.replace("-", "\N{NON-BREAKING HYPHEN}")
    return f"{_counted(view.table.num_rows, 'row')}: {keys}{_counted(windows, 'window')} from {unbroken}."


def _notes(view: AggregationView, series: Series) -> Iterator[str]:
    if sentence := series.coverage.sentence():
        yield sentence
    if "final" in view.table.column_names:
        final = pc.sum(view.table["final"].cast(pa.bool_())).as_py() or 0
        provisional = view.table.num_rows - final
        if provisional:
            yield f"Provisional: {_counted(provisional, 'row')}, which late records may still change."
    wanted = [statistic_column(column, name) for column, names in view.statistics.items() for name in names]
    missing = [name for name in wanted if name not in view.table.column_names]
    if missing:
        yield f"The stored table has no {_listed(missing)}; run the job again to add what is missing."


def _latest(view: AggregationView, series: Series, budget_characters: int) -> LatestValues:
    drawn = {figure.column for figure in _figures(view) if figure.model is None}
    columns = [(statistic, name) for _, statistic, name in _statistics(view) if name not in drawn]
    ranked = [(rank, row) for rank, row in enumerate(series.latest) if row >= 0]
    if not columns or not ranked:
        return LatestValues((), ())
    names = list(dict.fromkeys(["window_start", "window_end", *(name for _, name in columns)]))
    values = view.table.select(names).take(pa.array([row for _, row in ranked], pa.int64())).to_pylist()
    rows: list[LatestRow] = []
    for (rank, _), value in zip(ranked, values, strict=True):
        cells = tuple((ranking_cell if _is_ranking(statistic) else cell)(value[name]) for statistic, name in columns)
        window = window_words(value["window_start"], value["window_end"])
        budget_characters -= ROW_MARKUP + sum(len(item.text) + ENTRY_MARKUP * len(item.ranking) for item in cells)
        if budget_characters < 0 and rows:
            break
        rows.append(LatestRow(rank, series.labels[rank], window, cells))
    return LatestValues(tuple(name for _, name in columns), tuple(rows))


def _is_numeric(kind: pa.DataType) -> bool:
    types = pa.types
    # A column read back from SQL has no type if it holds no value.
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind))


def _is_ranking(statistic: str) -> bool:
    return re.fullmatch(r"top\d+", statistic) is not None


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
