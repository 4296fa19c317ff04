"""The charts: their figures, the words for these, and the Vega-Lite drawing of each kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from transforms.aggregation.family import statistic_of

Json: TypeAlias = Mapping[str, "Json"] | list["Json"] | str | float | bool | None

# Eight colours, each solid, dashed and dotted: as many keys as can be distinguished in one chart.
COLOURS: Final = 8
DASHES: Final = ([1, 0], [6, 3], [2, 2])
SLOTS: Final = COLOURS * len(DASHES)


@dataclass(frozen=True, slots=True)
class FigureId:
    """A column of figures: of the aggregation's table, or of one of its models, or what that model predicts."""

    column: str
    model: str | None = None
    is_prediction: bool = False


def predicted_by(model: str) -> FigureId:
    """The figure for what a model predicts."""
    return FigureId("predicted", model, is_prediction=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart: its title, the column it shows, and the figures it draws.

    `positions` index the embedded columns: the figure itself, or (predicted, observed) for `scatter`.
    """

    kind: Literal["line", "line_from_zero", "scatter"]
    title: str
    column: str
    positions: tuple[int, ...]


def statistic_words(statistic: str) -> str:
    """Spells out a statistic of the job file.

    >>> statistic_words("p99.9"), statistic_words("p2"), statistic_words("std")
    ('99.9th percentile', '2nd percentile', 'Standard deviation')
    """
    name = statistic.replace("_", ".")
    declared = statistic_of(name)
    return declared.title_of(name) if declared is not None else statistic.capitalize()


def is_amount(statistic: str) -> bool:
    """Whether the zero of a statistic of the job file means something."""
    declared = statistic_of(statistic.replace("_", "."))
    return declared is not None and declared.is_amount


def line_kind(is_amount: bool) -> Literal["line", "line_from_zero"]:
    """Chooses whether the vertical axis begins at zero: where a figure's zero means something."""
    return "line_from_zero" if is_amount else "line"


def specs(*, reasons: int) -> dict[str, Json]:
    """Returns the Vega-Lite specification of each kind of chart, without data.

    The page fills the dataset `rows`. Lines: `t` (ms since the epoch), `y` (or null), `s` (slot: colour and dash),
    `dot` (the area of a dot, 0 for none). Scatter: `x`, `y`, `s`; and `limits` for its diagonal.
    Bars: `reason`, `letters`, most first.

    Args:
        reasons: how many bars there are.
    """
    return {
        "line": _line(from_zero=False),
        "line_from_zero": _line(from_zero=True),
        "scatter": _scatter(),
        "bars": _bars(reasons),
    }


# Vega writes 0.05 as "50m" once it abbreviates, so only large numbers are abbreviated.
_NUMBER_AXIS: Final[Json] = {
    "title": None,
    "tickCount": 4,
    "labelExpr": "abs(datum.value) >= 10000 ? format(datum.value, '~s') : datum.label",
}
# Vega's own labels have twelve hours and long month names.
_TIME_AXIS: Final[Json] = {
    "title": None,
    "grid": False,
    "tickCount": 4,
    "labelFlush": True,
    "labelExpr": "utchours(datum.value) + utcminutes(datum.value) + utcseconds(datum.value) > 0"
    " ? utcFormat(datum.value, utcseconds(datum.value) > 0 ? '%H:%M:%S' : '%H:%M')"
    " : utcFormat(datum.value, utcdate(datum.value) > 1 ? '%-d %b' : utcmonth(datum.value) > 0 ? '%b' : '%Y')",
}
_SLOTS: Final[list[Json]] = list(range(SLOTS))
_COLOUR: Final[Json] = {
    "field": "s",
    "type": "nominal",
    "scale": {"domain": _SLOTS, "range": "category"},
    "legend": None,
}
_DASH: Final[Json] = {
    "field": "s",
    "type": "nominal",
    "scale": {"domain": _SLOTS, "range": [list(DASHES[slot // COLOURS]) for slot in range(SLOTS)]},
    "legend": None,
}


def _line(*, from_zero: bool) -> Json:
    return {
        "width": "container",
        "height": 160,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": "rows", "values": []},
        "encoding": {
            "x": {
                "field": "t",
                "type": "temporal",
                "scale": {"type": "utc"},
                "axis": _TIME_AXIS,
            },
            "y": {"field": "y", "type": "quantitative", "scale": {"zero": from_zero}, "axis": _NUMBER_AXIS},
            "color": _COLOUR,
        },
        "layer": [
            {
                "mark": {
                    "type": "line",
                    "strokeWidth": 1.3,
                    "strokeJoin": "round",
                    "invalid": "break-paths-show-domains",
                },
                "encoding": {"strokeDash": _DASH},
            },
            {
                "transform": [{"filter": "datum.dot > 0"}],
                "mark": {"type": "circle", "opacity": 1},
                "encoding": {"size": {"field": "dot", "type": "quantitative", "scale": None}},
            },
        ],
    }


def _scatter() -> Json:
    # The diagonal spans the limits of both axes, so without rounding and zero both have the same domain.
    scale: Json = {"zero": False, "nice": False}
    return {
        "width": "container",
        "height": 340,
        "autosize": {"type": "fit", "contains": "padding"},
        "layer": [
            {
                "data": {"name": "limits", "values": []},
                "mark": {"type": "rule", "strokeDash": [4, 4], "opacity": 0.6},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative", "scale": scale},
                    "y": {"field": "low", "type": "quantitative", "scale": scale},
                    "x2": {"field": "high"},
                    "y2": {"field": "high"},
                },
            },
            {
                "data": {"name": "rows", "values": []},
                "mark": {"type": "circle", "size": 22, "opacity": 0.55, "tooltip": True},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative", "scale": scale, "axis": {**_axis("predicted")}},
                    "y": {"field": "y", "type": "quantitative", "scale": scale, "axis": {**_axis("observed")}},
                    "color": _COLOUR,
                },
            },
        ],
    }


def _axis(title: str) -> dict[str, Json]:
    return {**(_NUMBER_AXIS if isinstance(_NUMBER_AXIS, Mapping) else {}), "title": title}


def _bars(count: int) -> Json:
    return {
        "width": "container",
        "height": 30 * count,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": "rows", "values": []},
        "encoding": {
            "y": {"field": "reason", "type": "nominal", "sort": None, "axis": {"title": None, "ticks": False}},
            "x": {"field": "letters", "type": "quantitative", "axis": None},
        },
        "layer": [
            {"mark": {"type": "bar", "height": {"band": 0.62}, "cornerRadiusEnd": 3}},
            {
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"text": {"field": "letters", "type": "quantitative", "format": ",d"}},
            },
        ],
    }
