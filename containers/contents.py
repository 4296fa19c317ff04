"""The contents of an image, determined inside it: `python -m containers.contents` prints them as JSON.

`image build` compares them with the intended ones, and `image inspect` shows them.
"""

import json
import platform
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

BILL: Final = Path("/opt/streamgauge/sbom.json")
_PROGRAMS: Final = Path("/opt/apache/beam")


def contents() -> dict[str, Any]:
    """Versions, programs, and a summary of the bill of materials."""
    return {
        "python": platform.python_version(),
        "beam": _version("apache-beam"),
        "streamgauge": _version("streamgauge"),
        "programs": sorted(path.name for path in _PROGRAMS.glob("*")),
        "sbom": summary(json.loads(BILL.read_text(encoding="utf-8"))) if BILL.exists() else None,
    }


def summary(bill: dict[str, Any]) -> dict[str, Any]:
    """How many components of each kind, and how many of them state a licence.

    >>> components = [{"purl": "pkg:pypi/a@1", "licenses": [{}]}, {"purl": "pkg:deb/b"}]
    >>> summary({"specVersion": "1.6", "components": components})
    {'format': 'CycloneDX 1.6', 'components': 2, 'kinds': {'pypi': 1, 'deb': 1}, 'licensed': 1}
    """
    components = bill.get("components", [])
    kinds = Counter(component.get("purl", "pkg:other/").split("/")[0].removeprefix("pkg:") for component in components)
    return {
        "format": f"CycloneDX {bill.get('specVersion', '?')}",
        "components": len(components),
        "kinds": dict(kinds),
        "licensed": sum(1 for component in components if component.get("licenses")),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    json.dump(contents(), sys.stdout)
