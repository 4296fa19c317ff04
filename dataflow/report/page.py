"""The page: the template with all data filled in, which fetches nothing when it is opened."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone
from functools import cache
from importlib.resources import files

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup, escape

from dataflow.report.charts import specs
from dataflow.report.data import LEDGER_TERMS, AggregationView, ReportData
from dataflow.report.keys import shorten, value_text
from dataflow.report.section import Section, build_section, embedded_bytes
from dataflow.report.series import FIRST_KEYS

# A page stays below 3 MB: 0.9 MB is the chart library, and 0.3 MB are left for tables and markup.
EMBEDDED_BYTES = 1_800_000
LETTERS_LIMIT = 100
EXAMPLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class LetterLine:
    """One line of the table of dead letters."""

    reason: str
    stage: str
    letters: int
    example: str


def render(data: ReportData) -> str:
    """Renders a run as one HTML page that needs no other file and no network.

    The page draws with Vega-Lite, which is bundled into it. Figures are rounded to six digits, and large tables keep
    the keys with most rows; the page says so where it does. The same data gives the same page, byte for byte.

    Args:
        data: the run and its results.

    Returns:
        The page, to be written as UTF-8.
    """
    sections = _sections(data.aggregations)
    lines, letters, reasons = _letters(data.dead_letters)
    library, program = Markup(chart_library()), Markup(_program())
    return _template().render(
        data=data,
        finished=data.finished.astimezone(timezone.utc),
        figures=_summary(data, letters, len(reasons)),
        terms=[(term, data.ledger[term], _share(data.ledger, term)) for term in LEDGER_TERMS],
        is_balanced=data.ledger["read"] == sum(data.ledger[term] for term in LEDGER_TERMS),
        partly_late=data.ledger.get("partly_late", 0),
        duration=None if data.seconds is None else duration(data.seconds),
        sections=sections,
        series=[_script_json(section.series.json) for section in sections],
        specs=_script_json(json.dumps(specs(reasons=len(reasons)))),
        first_keys=FIRST_KEYS,
        letters=letters,
        letter_lines=lines[:LETTERS_LIMIT],
        letter_line_count=len(lines),
        reasons=reasons,
        reasons_json=_script_json(json.dumps([{"reason": name, "letters": count} for name, count in reasons])),
        style=Markup(_asset("report.css")),
        library=library,
        program=program,
        script_hashes=[_digest(library), _digest(program)],
    )


def duration(seconds: float) -> str:
    """Writes a duration with about three digits.

    >>> duration(0.8312), duration(12.44), duration(200), duration(7_512)
    ('0.83 s', '12.4 s', '3 min 20 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


@cache
def chart_library() -> str:
    """Bundles Vega, Vega-Lite and Vega-Embed as one script that sets `window.vegaEmbed`; takes about a second."""
    import vl_convert  # half a second that only a report should pay

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed")
    # Anywhere inside a script element, these would end or change it.
    return bundle.replace("\r\n", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _summary(data: ReportData, letters: int, reasons: int) -> list[tuple[str, str, str]]:
    read, accepted = data.ledger["read"], data.ledger["accepted"]
    rate = f"{read / data.seconds:,.0f} records a second" if read and data.seconds else ""
    took = duration(data.seconds) if data.seconds is not None else "still running"
    letters_note = f"for {reasons} reason{'' if reasons == 1 else 's'}" if reasons else "none at all"
    rows = sum(view.table.num_rows for view in data.aggregations)
    tables = len(data.aggregations)
    return [
        ("Records read", f"{read:,}", rate),
        ("Accepted", f"{accepted:,}", f"{_share(data.ledger, 'accepted'):.4g} % of those read" if read else ""),
        ("Dead letters", f"{letters:,}", letters_note),
        ("Result rows", f"{rows:,}", f"in {tables} aggregation{'' if tables == 1 else 's'}"),
        ("Duration", took, data.runner),
    ]


def _share(ledger: Mapping[str, int], term: str) -> float:
    return 100 * ledger[term] / ledger["read"] if ledger["read"] else 0.0


def _sections(views: Sequence[AggregationView]) -> list[Section]:
    """Builds the smallest section first: what it leaves of its equal share goes to the later ones."""
    sections: dict[int, Section] = {}
    left = EMBEDDED_BYTES
    for position in sorted(range(len(views)), key=lambda position: embedded_bytes(views[position])):
        sections[position] = build_section(views[position], left // (len(views) - len(sections)))
        left -= len(sections[position].series.json)
    return [sections[position] for position in range(len(views))]


def _letters(table: pa.Table) -> tuple[list[LetterLine], int, list[tuple[str, int]]]:
    """Sorts the dead letters, most first; returns the lines of the table, the total, and the count for each reason."""
    letters = pc.fill_null(table["letters"].cast(pa.int64()), 0)
    counted = table.set_column(table.column_names.index("letters"), "letters", letters)
    lines = [
        LetterLine(
            value_text(row["reason"]),
            value_text(row["stage"]),
            row["letters"],
            shorten(str(row["example_detail"] or ""), EXAMPLE_CHARACTERS),
        )
        for row in counted.sort_by([("letters", "descending")]).to_pylist()
    ]
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.reason] = counts.get(line.reason, 0) + line.letters
    return lines, sum(counts.values()), sorted(counts.items(), key=lambda item: -item[1])


def _script_json(text: str) -> Markup:
    """Makes JSON safe inside a script element: nothing in it can end the element or open a comment."""
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["code"] = _code
    return environment.from_string(_asset("template.html.jinja"))


def _code(sentence: str) -> Markup:
    """Marks text between backticks as code; everything is escaped."""
    parts = [escape(part) for part in sentence.split("`")]
    return Markup().join(Markup(f"<code>{part}</code>") if place % 2 else part for place, part in enumerate(parts))


def _program() -> str:
    """Joins the page's own scripts in a scope of their own: the library leaves short names in the global one."""
    scripts = [_asset(name) for name in ("figures.js", "picker.js", "report.js")]
    return "\n".join(["(() => {", '"use strict";', *scripts, "})();", ""])


def _digest(script: str) -> str:
    """Names a script in the page's content security policy, which lets no other script run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8").replace("\r\n", "\n")
