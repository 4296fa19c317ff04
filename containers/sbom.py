"""Completes a tool's bill of materials of the Python packages: `python -m containers.sbom IN OUT`.

Runs during the image's build, and adds what that tool does not see: Python itself, the base image's Debian packages,
and the Go modules in the programs that were copied in.
"""

import json
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

PROGRAMS: Final = Path("/opt/apache/beam")
_DPKG: Final = Path("/var/lib/dpkg/status")
_RELEASE: Final = Path("/etc/os-release")
# The build information in the bytes of a Go program: https://pkg.go.dev/runtime/debug#BuildInfo
_MODULE: Final = re.compile(rb"\n(?:mod|dep)\t([^\t\n]+)\t(v[^\t\n]+)")


def complete(bill: dict[str, Any], more: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """A CycloneDX bill with more components, each once, in the order of their package URLs.

    >>> complete({"components": [{"purl": "pkg:b"}]}, iter([{"purl": "pkg:a"}, {"purl": "pkg:b"}]))
    {'components': [{'purl': 'pkg:a'}, {'purl': 'pkg:b'}]}
    """
    found = {component.get("purl", component.get("name", "")): component for component in more}
    found |= {component.get("purl", component.get("name", "")): component for component in bill.get("components", [])}
    return {**bill, "components": [found[purl] for purl in sorted(found)]}


def component(kind: str, name: str, version: str, *, type_: str = "library", qualifiers: str = "") -> dict[str, Any]:
    """
    >>> component("deb/debian", "libc6", "2.36-9+deb12u14")["purl"]
    'pkg:deb/debian/libc6@2.36-9%2Bdeb12u14'
    """
    purl = f"pkg:{kind}/{quote(name, safe='/')}@{quote(version, safe='')}{qualifiers}"
    return {"type": type_, "name": name, "version": version, "purl": purl, "bom-ref": purl}


def debian_packages(status: str, distribution: str) -> Iterator[dict[str, Any]]:
    """The installed packages of dpkg's database.

    >>> text = "Package: libc6\\nStatus: install ok installed\\nArchitecture: amd64\\nVersion: 2.36\\n"
    >>> [found["purl"] for found in debian_packages(text, "debian")]
    ['pkg:deb/debian/libc6@2.36?arch=amd64']
    """
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            arch = f"?arch={fields['Architecture']}"
            yield component(f"deb/{distribution}", fields["Package"], fields["Version"], qualifiers=arch)


def go_modules(program: bytes) -> Iterator[dict[str, Any]]:
    """The modules that a Go program was linked from."""
    for name, version in _MODULE.findall(program):
        yield component("golang", name.decode(), version.decode())


def _more() -> Iterator[dict[str, Any]]:
    yield component("generic", "python", platform.python_version(), type_="application")
    if _DPKG.exists():
        release = dict(line.split("=", 1) for line in _RELEASE.read_text().splitlines() if "=" in line)
        yield from debian_packages(_DPKG.read_text(encoding="utf-8"), release.get("ID", "debian").strip('"'))
    for program in sorted(PROGRAMS.glob("*")):
        yield from go_modules(program.read_bytes())


def main() -> None:
    """Reads a bill, and writes the completed one."""
    given, wanted = sys.argv[1:]
    bill = json.loads(Path(given).read_text(encoding="utf-8"))
    Path(wanted).write_text(json.dumps(complete(bill, _more()), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
