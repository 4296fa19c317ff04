"""Seeded scenarios of faults against the real processes, and a table of what they found: `python -m tests.faults`."""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.faults.case import Case, play_named
from tests.faults.scenarios import NEED_ROOT, SCENARIOS


def main() -> int:
    """Plays every scenario with every seed; 1 if one of them lost or doubled anything, or went wrong otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--first", type=int, default=1, metavar="SEED")
    parser.add_argument("--only", default=",".join(SCENARIOS), metavar="A,B")
    parser.add_argument("--jobs", type=int, default=1, metavar="K", help="cases at a time")
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = set(names) - set(SCENARIOS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if os.geteuid() and NEED_ROOT & set(names):
        parser.error(
            f"only root may mount the small disks of {', '.join(sorted(NEED_ROOT))}: leave them out with --only"
        )
    cases: dict[str, list[Case]] = {name: [] for name in names}
    wanted = [(name, seed) for name in names for seed in range(options.first, options.first + options.seeds)]
    for case in played(wanted, options.jobs):
        cases[case.name].append(case)
        where = "" if case.verdict.is_good else f", kept in {case.folder}"
        said = f"{case.name}, seed {case.seed}: {case.seconds:.1f} s{where}"
        print(said, *case.verdict.wrong, sep="\n    ", file=sys.stderr, flush=True)
    _print(cases)
    return int(any(not case.verdict.is_good for each in cases.values() for case in each))


def played(wanted: Sequence[tuple[str, int]], jobs: int) -> Iterator[Case]:
    """Cases as they come to their end, `jobs` at a time, each by a process that plays one after the other."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(play_named, *case) for case in wanted]):
            yield done.result()


def _print(cases: dict[str, list[Case]]) -> None:
    rows = [["scenario", "seeds", "faults", "records", "lost", "twice", "tables differ", "wrong", "seconds"]]
    for name, played_ in cases.items():
        verdicts = [case.verdict for case in played_]
        figures = [sum(getattr(each, field) for each in verdicts) for field in ("faults", "records", "lost", "twice")]
        differ, wrong = sum(each.differ for each in verdicts), sum(not each.is_good for each in verdicts)
        seconds = f"{sum(case.seconds for case in played_) / max(len(played_), 1):.1f}"
        rows.append([name, *(f"{figure:,}" for figure in (len(played_), *figures, differ, wrong)), seconds])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())
