"""The local runner for bounded jobs: Beam's in-process runner, with one worker.

`DirectRunner` on its own tries other runners first, silently; here it is always the in-process one, so that what
runs is what was asked for. Parallelism is the reader's, which parses on every core: the embedded engine and numpy
release the interpreter lock for nearly all their work. More workers can be asked for with Beam's own flags.
"""

import os
import shlex
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, FlinkRunnerOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from runners import flink, prism
from runners.flags import IN_PROCESS
from runners.flags import FlagError as FlagError  # callers know it from here
from runners.flags import options_of as options_of
from runners.worker import quieten

LOCAL_NAMES = (None, *IN_PROCESS)


def is_local(flags: Sequence[str]) -> bool:
    """Whether these flags ask for the in-process runner, which is what no flags do."""
    return options_of(flags).view_as(StandardOptions).runner in LOCAL_NAMES


def check(flags: Sequence[str]) -> None:
    """Looks whether `pipeline` could run a job with these flags now.

    Raises:
        FlagError: if Beam does not understand the flags.
        FlinkError: if they name a cluster that does not answer, has no room, or fits no jar that is there.
    """
    options_of(flags)
    if flink.is_cluster(flags):
        flink.target_of(flags, flink.parallelism_of(flags))


def pipeline(flags: Sequence[str]) -> beam.Pipeline:
    """A pipeline on the runner that `flags` name, in-process unless they name another."""
    options = options_of(flags)
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if standard.runner == "PrismRunner":
        return prism.bounded_pipeline(flags)
    if flink.is_cluster(flags):
        return flink.bounded_pipeline(flags)
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
    if asked == "PrismRunner":
        return "Prism (on this machine)"
    if flink.is_cluster(flags):
        return f"Flink at {options_of(flags).view_as(FlinkRunnerOptions).flink_master}"
    return "DirectRunner (in this process)" if asked in LOCAL_NAMES else str(asked)
