"""The local runner for bounded jobs: Beam's in-process runner, with one worker.

Beam's `DirectRunner` silently tries other runners first; here it is always the in-process one, so that the requested
runner is the one that runs. The reader provides the parallelism and parses on every core: the embedded engine and
numpy release the interpreter lock for nearly all their work. Beam's own flags can request more workers.
"""

import os
import shlex
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, FlinkRunnerOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from runners import flink, peers, prism
from runners.flags import IN_PROCESS
from runners.flags import FlagError as FlagError  # callers import it from here
from runners.flags import options_of as options_of
from runners.worker import quieten

LOCAL_NAMES = (None, *IN_PROCESS)


def is_local(flags: Sequence[str]) -> bool:
    """Whether these flags ask for the in-process runner, which is also the default."""
    return options_of(flags).view_as(StandardOptions).runner in LOCAL_NAMES


def check(flags: Sequence[str]) -> None:
    """Checks whether `pipeline` could run a job with these flags now.

    Raises:
        FlagError: if Beam does not understand the flags.
        FlinkError: if they name a cluster that does not answer, has no room, or has no matching jar here.
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
    peers.guard()
    if not any(flag.startswith("--direct_running_mode") for flag in flags) and direct.direct_num_workers != 1:
        direct.direct_running_mode = "multi_threading"
    if direct.direct_running_mode == "multi_processing":
        # By default the runner would start Beam's own worker program, which logs everything.
        direct.direct_running_mode = None
        # Ctrl-C in a terminal reaches the workers too, and each would report it. They import from the same path.
        path = shlex.quote(os.pathsep.join(filter(None, sys.path)))
        command = f"trap '' INT; PYTHONPATH={path} exec {shlex.quote(sys.executable)} -m runners.worker {os.getpid()}"
        workers = FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))
        return beam.Pipeline(runner=workers, options=options)
    quieten()
    return beam.Pipeline(runner=FnApiRunner(), options=options)


def name(flags: Sequence[str]) -> str:
    """The name of what executes the job."""
    asked = options_of(flags).view_as(StandardOptions).runner
    if asked == "PrismRunner":
        return "Prism (on this machine)"
    if flink.is_cluster(flags):
        return f"Flink at {options_of(flags).view_as(FlinkRunnerOptions).flink_master}"
    return "DirectRunner (in this process)" if asked in LOCAL_NAMES else str(asked)
