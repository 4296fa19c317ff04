"""Plugins: packages that add sources, sinks, kinds of models or statistics; a job file names the ones that it uses.

A plugin is an entry point of the group `streamgauge.plugins`: a function without arguments that registers what it adds.
It is called when the first job file names it, and never in processes that run only other jobs.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from dataflow.job.problem import Problem
from dataflow.job.spec import rebuild
from transforms.specification import one_or_more

GROUP: Final = "streamgauge.plugins"


def load(content: Mapping[str, Any]) -> Iterator[Problem]:
    """Loads the plugins that the content of a job file names; yields what is wrong with them."""
    names = one_or_more(content.get("plugins"))
    for index, name in enumerate(names if isinstance(names, Sequence) else ()):
        found = _installed().get(str(name))
        if found is None:
            known = ", ".join(sorted(_installed())) or "none"
            yield Problem(("plugins", index), f"must be a plugin that is installed ({known}), is {name}")
        elif len(packages := _packages(str(name))) > 1:
            sentence = f"must be a plugin of one package, and {name} is one of {' and '.join(packages)}"
            yield Problem(("plugins", index), sentence)
        elif (why := _loaded(found)) is not None:
            yield Problem(("plugins", index), why)


def _installed() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _packages(name: str) -> list[str]:
    """The packages that a plugin of this name is installed from."""
    return [entry.dist.name if entry.dist else entry.value for entry in entry_points(group=GROUP, name=name)]


@cache
def _loaded(entry: EntryPoint) -> str | None:
    """Loads a plugin, once; returns the reason if that fails."""
    try:
        entry.load()()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin may raise anything
        return f"the plugin {entry.name} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
    rebuild()
    return None


def described(names: Sequence[str]) -> list[str]:
    """Each plugin with the package and the version that it comes from."""
    found = [(name, _installed()[name]) for name in names]
    return [f"{name} ({entry.dist.name} {entry.dist.version})" if entry.dist else name for name, entry in found]
