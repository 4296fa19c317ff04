"""The guides and the reference as one searchable site: `make docs`. It asks no other site for anything.

Links are written so that they lead somewhere in a checkout, and on a forge that shows it. On the site, README and its
companions are pages, and another file outside docs/ that a page links to can be downloaded.
"""

import logging
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "Streamgauge"
author = "the authors of Streamgauge"
html_title = project

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["requirements.txt"]
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
default_role = "code"  # docstrings write code as Markdown does
python_maximum_signature_line_length = 80

# GitHub's names for headings.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

OUTSIDE = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files outside docs/, and the pages of docs/ that they are on the site."""

LINK = re.compile(r"(\]\()(?!https?:|#)([^)\s]+\))")


def as_page(text: str) -> str:
    """The text of a file next to docs/, its links as from a page in docs/."""

    def point(match: re.Match[str]) -> str:
        target = match[2]
        if target == "docs/decisions)":
            return f"{match[1]}index.md#explanation)"
        inside = OUTSIDE.get(target.removesuffix(")"))
        return match[1] + (f"{inside})" if inside else target.removeprefix("docs/"))

    return LINK.sub(point, text)


def put_in(_app: object, page: str, source: list[str]) -> None:
    """Puts the text of an outside file in the place of its page, and leads links to such files there."""
    for outside, inside in OUTSIDE.items():
        if inside == f"{page}.md":
            source[0] = as_page((ROOT / outside).read_text(encoding="utf-8"))
        else:
            source[0] = source[0].replace(f"](../{outside})", f"]({inside})")


def without_factories(_app: object, _what: str, _name: str, _of: object, _options: object, *signature: Any) -> Any:
    """Shows an argument that is a new, empty mapping by default as one."""
    arguments, returned = signature
    return arguments and arguments.replace("<factory>", "{}"), returned


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", put_in)
    app.connect("autodoc-process-signature", without_factories)
    # Importing Beam without its extras warns on the root logger.
    logging.getLogger().addFilter(lambda record: False)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
