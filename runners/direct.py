"""The local runner for bounded jobs: Beam's in-process runner, with one worker.

`DirectRunner` on its own tries other runners first, silently; here it is always the in-process one, so that what
runs is what was asked for. Parallelism is the reader's, which parses on every core: the embedded engine and numpy
release the interpreter lock for nearly all their work. More workers can be asked for with Beam's own flags.
"""

import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from runners.worker import quieten

LOCAL_NAMES = (None, "DirectRunner", "direct", "FnApiRunner")


class FlagError(ValueError):
    """Flags that Beam does not understand."""


def options_of(flags: Sequence[str]) -> PipelineOptions:
    """Flags as Beam's options; those that it does not know are for somebody else.

    Raises:
        FlagError: for a flag whose value cannot be read, and for a runner that does not exist.
    """
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            options = PipelineOptions(list(flags))
            options.get_all_options()
    except SystemExit:  # argparse's answer, behind a screen full of usage
        raise FlagError(told.getvalue().strip().rpartition("error: ")[2]) from None
    runner = options.view_as(StandardOptions).runner
    known = (*LOCAL_NAMES, *StandardOptions.KNOWN_RUNNER_NAMES)
    if "." not in str(runner) and str(runner).lower() not in {str(name).lower() for name in known}:
        raise FlagError(f"argument --runner: {runner} is none of {', '.join(StandardOptions.KNOWN_RUNNER_NAMES)}")
    return options


def is_local(flags: Sequence[str]) -> bool:
    """Whether these flags ask for the in-process runner, which is what no flags do."""
    return options_of(flags).view_as(StandardOptions).runner in LOCAL_NAMES


def pipeline(flags: Sequence[str]) -> beam.Pipeline:
    """A pipeline on the runner that `flags` name, in-process unless they name another."""
    options = options_of(flags)
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if standard.runner not in LOCAL_NAMES:
        return beam.Pipeline(options=options)
    standard.runner = None
    if not any(flag.startswith("--direct_running_mode") for flag in flags) and direct.direct_num_workers != 1:
        direct.direct_running_mode = "multi_threading"
    if direct.direct_running_mode == "multi_processing":
        # Left to itself the runner would start Beam's own worker program, which logs all it does.
        direct.direct_running_mode = None
        # Ctrl-C in a terminal reaches the workers too: they must not each complain of it. And they import what we can.
        path = shlex.quote(os.pathsep.join(filter(None, sys.path)))
        command = f"trap '' INT; PYTHONPATH={path} exec {shlex.quote(sys.executable)} -m runners.worker {os.getpid()}"
        workers = FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))
        return beam.Pipeline(runner=workers, options=options)
    quieten()
    return beam.Pipeline(runner=FnApiRunner(), options=options)


def name(flags: Sequence[str]) -> str:
    """What executes the job, for people."""
    asked = options_of(flags).view_as(StandardOptions).runner
    return "DirectRunner (in this process)" if asked in LOCAL_NAMES else str(asked)
