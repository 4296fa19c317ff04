"""The graph of a job as a drawing: stages from left to right, dead letters and ledger below."""

from html import escape

from dataflow.job.plan import Job

_WIDTH, _HEIGHT, _GAP = 190, 54, 46


def draw(job: Job) -> str:
    """The graph as a self-contained SVG document."""
    stages: list[list[tuple[str, str]]] = [
        [("read", f"{job.source.form(job.spec.source)}, {len(job.schema.columns)} columns")]
    ]
    if job.steps:
        stages.append([("preprocess", ", ".join(step.name for step in job.steps))])
    stages.append([(a.spec.name, f"by {', '.join(a.spec.key) or 'all'}, {a.spec.window}") for a in job.aggregations])
    stages.append([("store", ", ".join(next(iter(type(sink).model_fields)) for sink in job.spec.sinks))])
    if job.spec.report:
        stages.append([("report", "one HTML page")])
    rows = max(len(stage) for stage in stages)
    width = len(stages) * (_WIDTH + _GAP) + _GAP
    height = (rows + 1) * (_HEIGHT + _GAP) + _GAP
    middle = _GAP + (rows * (_HEIGHT + _GAP) - _GAP) / 2
    parts, before = [], [(0.0, middle)]
    for column, stage in enumerate(stages):
        x = _GAP + column * (_WIDTH + _GAP)
        top = middle - (len(stage) * (_HEIGHT + _GAP) - _GAP) / 2
        after: list[tuple[float, float]] = []
        for row, (title, text) in enumerate(stage):
            y = top + row * (_HEIGHT + _GAP)
            parts.append(_box(x, y, title, text))
            if column:
                parts += [_arrow(bx, by, x, y + _HEIGHT / 2) for bx, by in before]
            after.append((x + _WIDTH, y + _HEIGHT / 2))
        before = after
    books = height - _HEIGHT - _GAP / 2
    store = _GAP + (len(stages) - (2 if job.spec.report else 1)) * (_WIDTH + _GAP)
    parts.append(_box(store - _WIDTH - _GAP, books, "dead letters, ledger", "what became of every record"))
    parts.append(_arrow(_GAP + _WIDTH / 2, middle + _HEIGHT / 2, store - _WIDTH - _GAP, books + _HEIGHT / 2))
    parts.append(_arrow(store - _GAP, books + _HEIGHT / 2, store + _WIDTH / 2, middle + _HEIGHT / 2 + 4))
    style = "text{font:13px system-ui,sans-serif;fill:#1f2933}.t{font-weight:600}.s{font-size:11px;fill:#52606d}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img"'
        f' aria-label="{escape(job.spec.job)}"><title>{escape(job.spec.job)}</title><style>{style}</style>'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="#52606d"/></marker></defs>{"".join(parts)}</svg>\n'
    )


def _box(x: float, y: float, title: str, text: str) -> str:
    shown = text if len(text) <= 30 else text[:29] + "…"
    return (
        f"<g><title>{escape(title)}: {escape(text)}</title>"
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#f0f4f8" stroke="#829ab1"/>'
        f'<text class="t" x="{x + 12:.0f}" y="{y + 22:.0f}">{escape(title[:26])}</text>'
        f'<text class="s" x="{x + 12:.0f}" y="{y + 41:.0f}">{escape(shown)}</text></g>'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.0f} {y1:.0f}L{x2 - 2:.0f} {y2:.0f}" fill="none" stroke="#829ab1" marker-end="url(#a)"/>'
