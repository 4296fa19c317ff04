"""Flags as Beam's options, and what they request."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Final, TypeVar, cast

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

IN_PROCESS: Final = ("DirectRunner", "direct", "FnApiRunner")
"""Names of the runners that run bounded jobs in this process, and never close a window of an endless one."""


_View = TypeVar("_View", bound=PipelineOptions)


class FlagError(ValueError):
    """Flags that Beam does not understand."""


class _Options(PipelineOptions):
    """Options whose views are made once: Beam looks at several for every step of a pipeline, and each view parses the
    flags again, which is a sixth of the time that a small job takes."""

    def view_as(self, cls: type[_View]) -> _View:
        views: dict[type[PipelineOptions], PipelineOptions] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return cast(_View, views[cls])

    def __getstate__(self) -> dict[str, object]:
        """Without the views: those of a copy must belong to the copy."""
        return {name: value for name, value in self.__dict__.items() if name != "_views"}


def options_of(flags: Sequence[str]) -> PipelineOptions:
    """Flags as Beam's options; flags that Beam does not know are ignored here.

    Raises:
        FlagError: for a flag whose value cannot be read, and for a runner that does not exist.
    """
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            options = _Options(list(flags))
            options.get_all_options()
    except SystemExit:  # argparse prints the usage and then the error
        raise FlagError(printed.getvalue().strip().rpartition("error: ")[2]) from None
    runner = options.view_as(StandardOptions).runner
    known = (None, *IN_PROCESS, *StandardOptions.KNOWN_RUNNER_NAMES)
    if "." not in str(runner) and str(runner).lower() not in {str(name).lower() for name in known}:
        raise FlagError(f"argument --runner: {runner} is not one of {', '.join(StandardOptions.KNOWN_RUNNER_NAMES)}")
    return options


def runner_named(flags: Sequence[str]) -> str | None:
    """The runner that these flags name; None if they name none."""
    name = options_of(flags).view_as(StandardOptions).runner
    return None if name is None else str(name)


def is_given(flags: Sequence[str], name: str) -> bool:
    """Whether flags name this option, even with its default value."""
    return any(flag.partition("=")[0] == f"--{name}" for flag in flags)
