"""`python -m benchmarks`: makes the events, runs every contender on them in turn, prints tables, writes results.json.

The whole of it takes about 25 minutes and 5 GB; `--quick` a few. A missed target is printed, not an error: the
exit code is 1 only if something failed to run or gave a wrong answer.
"""

import argparse
import json
import shlex
import subprocess
import sys
import venv
from collections.abc import Container, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.contenders import Contender, Peer, lacks, peers
from benchmarks.machine import describe, keep_to_cores
from benchmarks.outcomes import Outcome, markdown
from benchmarks.scenarios import FULL_ROWS, NAMES, OURS, Scenario, Sizes, scenarios
from benchmarks.streamgauge import HelpPage, Streamgauge
from benchmarks.trials import ROOT, Course, Results, Trial

REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")
OUR_PROGRAM = shlex.join([sys.executable, "-m", "dataflow.main"])
QUICK = 20  # `--quick` takes one row in twenty: seconds instead of minutes, and noise instead of figures
QUICK_ROUNDS, ROUNDS = 2, 5


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="A,B", help=f"only these scenarios, of {', '.join(NAMES)}")
    parser.add_argument("--contenders", metavar="A,B", help=f"only these, of {OURS}, {', '.join(all_peer_names())}")
    parser.add_argument(
        "--rows", type=int, default=FULL_ROWS, help="rows of a file; the large set has four (%(default)s)"
    )
    parser.add_argument("--runs", type=int, help=f"rounds, each of which runs everything once ({ROUNDS})")
    parser.add_argument(
        "--quick", action="store_true", help=f"1/{QUICK} of the rows, {QUICK_ROUNDS} rounds: just a look"
    )
    parser.add_argument("--cores", type=int, default=2, help="CPUs that every contender is confined to (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "bench", help="events, peers, results (build/bench)"
    )
    parser.add_argument("--peers", type=Path, metavar="VENV", help="the peers' virtual environment (FOLDER/peers)")
    parser.add_argument("--install-peers", action="store_true", help="make that environment, and do nothing else")
    parser.add_argument("--program", default=OUR_PROGRAM, help="how Streamgauge is called, to measure another build")
    return parser


def all_peer_names() -> list[str]:
    return [peer.name for peer in peers(Path())]


def install(environment: Path) -> int:
    if not (environment / "bin" / "python").exists():
        venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    return subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=False).returncode


def chosen(names: str | None, known: Sequence[str], option: str) -> list[str]:
    wanted = list(known) if names is None else names.split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"{option}: {unknown[0]!r} is none of {', '.join(known)}")
    return [name for name in known if name in wanted]


def enter(names: Sequence[str], environment: Path, program: tuple[str, ...]) -> tuple[list[Contender], dict[str, str]]:
    """Returns who takes part, Streamgauge first, and why others do not."""
    absent = {peer.title: reason for peer in peers(environment) if peer.name in names and (reason := lacks(peer))}
    present = [peer for peer in peers(environment) if peer.name in names and peer.title not in absent]
    ours = [Streamgauge(program)] if OURS in names else []
    return [*ours, *present], absent


def planned(scenes: Sequence[Scenario], contenders: Container[str]) -> list[Trial]:
    """Every trial that some scenario needs, once: the scenarios share runs."""
    trials = dict.fromkeys(trial for scene in scenes for trial in scene.trials())
    return [trial for trial in trials if trial.contender in contenders]


def page(header: dict[str, str], outcomes: Sequence[Outcome], absent: dict[str, str], failures: Sequence[str]) -> str:
    parts = ["# Benchmark", "\n".join(f"- {name}: {value}" for name, value in header.items())]
    parts += map(markdown, outcomes)
    if absent:
        hint = "`python -m benchmarks --install-peers` installs the Python packages"
        parts.append(f"Left out: {'; '.join(f'{title} ({reason})' for title, reason in absent.items())}. {hint}.")
    if failures:
        parts.append("## Failed\n\n" + "\n".join(f"- {failure}" for failure in failures))
    return "\n\n".join(parts)


def record(header: dict[str, str], outcomes: Sequence[Outcome], absent: dict[str, str], results: Results) -> str:
    """Everything as JSON, with every single run."""
    trials = [
        {
            **asdict(trial),
            "runs": list(map(asdict, results.runs.get(trial, []))),
            "failure": results.failures.get(trial),
        }
        for trial in dict.fromkeys([*results.runs, *results.failures])
    ]
    scenes = list(map(asdict, outcomes))
    everything = {"machine": header, "scenarios": scenes, "left_out": absent, "trials": trials}
    return json.dumps(everything, indent=1, default=str)  # str for the span of an event set


def report(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def main() -> int:
    asked = command_line().parse_args()
    environment = (asked.peers or asked.folder / "peers").absolute()
    if asked.install_peers:
        return install(environment)
    program = tuple(shlex.split(asked.program))
    names = chosen(asked.contenders, [OURS, *all_peer_names()], "--contenders")
    scene_names = chosen(asked.only, NAMES, "--only")
    keep_to_cores(asked.cores)
    contenders, absent = enter(names, environment, program)
    rows = asked.rows // QUICK if asked.quick else asked.rows
    rounds = asked.runs or (QUICK_ROUNDS if asked.quick else ROUNDS)
    pages: list[Contender] = [HelpPage(program)] if OURS in names else []
    by_name = {contender.name: contender for contender in [*contenders, *pages]}
    asked_for = [scene for scene in scenarios(Sizes(rows), contenders) if scene.name in scene_names]
    scenes = [scene for scene in asked_for if planned([scene], by_name)]
    trials = planned(scenes, by_name)

    header = describe([contender for contender in contenders if isinstance(contender, Peer)])
    header["Rounds"] = (
        f"{rounds}; figures are medians, ratios are taken within a round: their median (least to greatest)"
    )
    if rows < FULL_ROWS:
        header["Rows"] = f"{rows:,} instead of {FULL_ROWS:,}: a look, too few for figures"
    course = Course(by_name, asked.folder.absolute() / "events", report)
    course.prepare(trials)
    results = course.run(trials, rounds=rounds)

    outcomes = [scene.outcome(results) for scene in scenes]
    failures = course.failures(results)
    print(page(header, outcomes, absent, failures))
    (asked.folder / "results.json").write_text(record(header, outcomes, absent, results))
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
