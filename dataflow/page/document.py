"""The page itself: one HTML document that contains everything, in the report's style."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.resources import files

import jinja2
from markupsafe import Markup

from dataflow.page.view import JobView
from transforms.record.dead_letter import REASONS


@dataclass(frozen=True, slots=True)
class PageDocument:
    """The page's text, and the only script that a browser may run in it."""

    html: str
    script_hash: str

    @property
    def policy(self) -> str:
        """The page's content security policy: nothing from other sites, and no script but its own."""
        return (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none';"
            f" form-action 'none'; frame-ancestors 'none'; script-src '{self.script_hash}'"
        )


def document(view: JobView) -> PageDocument:
    """Renders the page of a job; its figures arrive later, as events."""
    program = _program()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    html = environment.from_string(_asset("dataflow.page", "live.html.jinja")).render(
        job=view.job,
        tables=view.tables,
        facts=_script_json({"tables": [asdict(table) for table in view.tables.values()], "reasons": REASONS}),
        style=Markup(_asset("dataflow.report", "report.css") + _asset("dataflow.page", "live.css")),
        program=Markup(program),
    )
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    return PageDocument(html, f"sha256-{digest}")


def _program() -> str:
    """Joins the scripts; the report's script writes numbers and selects keys."""
    scripts = [_asset("dataflow.report", name) for name in ("figures.js", "picker.js")]
    scripts += [_asset("dataflow.page", name) for name in ("line_chart.js", "live.js")]
    return "\n".join(["(() => {", '"use strict";', *scripts, "})();", ""])


def _script_json(content: object) -> Markup:
    """JSON that cannot end its script element."""
    text = json.dumps(content, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _asset(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text("utf-8").replace("\r\n", "\n")
