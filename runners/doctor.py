"""Diagnoses which runner will really execute a job, and whether it can."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runners import direct, flink
from runners.flags import IN_PROCESS, runner_named
from runners.prism_binary import cached, locate, version_of

ENDLESS: Final = ("PrismRunner", "FlinkRunner", "DataflowRunner", "PortableRunner")
"""Runners that read an endless source and close its windows; a runner named with its module is not checked."""

UNHEARD: Final = ("--direct_", "--job_port", "--prism_log_", "--requirements_file", "--setup_file", "--extra_package")
"""Prefixes of flags without effect for our Prism, whose DoFns run in this process."""


class NeverCloses(ValueError):
    """A job whose windows its runner would never close."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What executes a job, and notes on it, each in a sentence."""

    runner: str
    notes: tuple[str, ...] = ()
    prism: Path | None = None
    prism_version: str | None = None


def diagnose(flags: Sequence[str], *, endless: bool) -> Diagnosis:
    """Finds what will execute a job with these flags.

    Raises:
        FlagError: if Beam does not understand the flags.
        NeverCloses: if the job is endless and the runner that the flags name never closes its windows.
        PrismError: if Prism would run it, and no suitable Prism is here.
        FlinkError: if Flink would run it and does not answer, has no room for it, or has no matching jar here.
    """
    named = runner_named(flags)
    if flink.is_cluster(flags):
        return _of_flink(flags, endless=endless)
    if not endless and named != "PrismRunner":
        return Diagnosis(direct.name(flags))
    if named is not None and named not in ENDLESS and "." not in named:
        where = "runs in this process, never" if named in IN_PROCESS else "does not run endless sources, so it never"
        raise NeverCloses(
            f"--runner={named}, which {where} closes a window of an endless source: omit --runner to use Prism"
        )
    if named == "FlinkRunner":
        raise NeverCloses("--runner=FlinkRunner: a live job needs a running cluster, --flink_master=HOST:PORT")
    if named not in (None, "PrismRunner"):
        raise NeverCloses(f"--runner={named}: live jobs run on Prism and on Flink in this version")
    program = locate(flags)
    return Diagnosis(
        direct.name(["--runner=PrismRunner"]), tuple(_notes(flags, program)), program, version_of(program) or None
    )


def _of_flink(flags: Sequence[str], *, endless: bool) -> Diagnosis:
    target = flink.target_of(flags, flink.parallelism_of(flags))
    where = f"its Python runs in {flink.environment_of(flags)}, which must have this code, {flink.versions()}"
    notes = [*flink.notes_of(target), where]
    if endless:
        notes.append("every worker must see the job's paths: its log, sinks and state are not checked there")
    return Diagnosis(direct.name(flags), tuple(notes))


def _notes(flags: Sequence[str], program: Path) -> list[str]:
    notes = []
    if runner_named(flags) is None:
        notes.append("DirectRunner would never close a window of an endless source, so Prism is used instead")
    if program != cached():
        notes.append(f"{program} may listen on every network interface; the one of `make prism` does not")
    idle = sorted({flag.partition("=")[0] for flag in flags if flag.startswith(UNHEARD)})
    if idle:
        notes.append(f"Prism ignores {', '.join(idle)}")
    return notes
