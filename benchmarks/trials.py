"""Rounds of trials: every contender's run next to the others', so that what disturbs one disturbs all."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from benchmarks.answers import exact_answer
from benchmarks.contenders import Contender, Task
from benchmarks.events import EventSet, file_paths
from benchmarks.measurement import Measurement, RunError, measure

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Trial:
    """One contender, by name, on one task."""

    contender: str
    task: Task


@dataclass(slots=True)
class Results:
    """What each trial's runs cost, in the order of the rounds; a trial that failed is not run again."""

    runs: dict[Trial, list[Measurement]] = field(default_factory=dict)
    failures: dict[Trial, str] = field(default_factory=dict)

    def of(self, trial: Trial) -> list[Measurement]:
        """Returns the runs of `trial`; none if it failed, as half a trial gives no figure."""
        return [] if trial in self.failures else self.runs.get(trial, [])


Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Course:
    """Where trials run: the contenders by name, the folder of events, and what receives reports."""

    contenders: Mapping[str, Contender]
    folder: Path
    report: Progress

    def prepare(self, trials: Sequence[Trial]) -> None:
        """Makes the events and the exact answers; they also are in the page cache then, for every contender alike."""
        for task in dict.fromkeys(trial.task for trial in trials):
            self.report(f"events: {task.events.records:,} records of {task.kind}")
            file_paths(task.events, task.kind, self.folder)
            exact_answer(task.events, task.window, self.folder)

    def run(self, trials: Sequence[Trial], *, rounds: int) -> Results:
        """Runs every trial once a round, `rounds` times, after a small run of each contender that does not count."""
        results = Results()
        for name in dict.fromkeys(trial.contender for trial in trials):
            self.warm_up(name, [trial for trial in trials if trial.contender == name], results)
        for number in range(1, rounds + 1):
            for trial in trials:
                if trial not in results.failures:
                    self.attempt(trial, f"round {number} of {rounds}", results)
        return results

    def warm_up(self, name: str, trials: Sequence[Trial], results: Results) -> None:
        """Compiles and caches what a first run does; if even that fails, none of the contender's trials is run."""
        trial = Trial(name, Task(small_sample(trials[0].task.events)))
        self.attempt(trial, "warm-up", results)
        results.runs.pop(trial, None)
        if failure := results.failures.pop(trial, None):
            results.failures |= dict.fromkeys(trials, f"in the warm-up, {failure}")

    def attempt(self, trial: Trial, when: str, results: Results) -> None:
        try:
            run = self.once(trial)
        except RunError as failure:
            results.failures[trial] = str(failure)
            self.report(f"{when}: {self.describe(trial)}: FAILED, {failure}")
            return
        results.runs.setdefault(trial, []).append(run)
        self.report(f"{when}: {self.describe(trial)}: {run.wall_s:.2f} s")

    def once(self, trial: Trial) -> Measurement:
        contender, task = self.contenders[trial.contender], trial.task
        sources = file_paths(task.events, task.kind, self.folder)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        try:
            command = contender.command(task, sources, folder)
            run = measure(command, folder=folder, working_folder=ROOT)
            contender.check(task, folder, exact_answer(task.events, task.window, self.folder))
        except duckdb.Error as error:  # a table is not there, or not as it should be
            raise RunError(f"no readable answer: {str(error).splitlines()[0]}") from error
        finally:
            shutil.rmtree(folder)
        return run

    def failures(self, results: Results) -> list[str]:
        """One line for each reason a contender failed for, however many of its trials that struck."""
        struck: dict[tuple[str, str], list[Trial]] = {}
        for trial, reason in results.failures.items():
            struck.setdefault((trial.contender, reason), []).append(trial)
        return [
            f"{self.describe(first)}{f' and {len(more)} more' if more else ''}: {reason}"
            for (_, reason), (first, *more) in struck.items()
        ]

    def describe(self, trial: Trial) -> str:
        events = trial.task.events
        bad = ", 1 % bad" if events.has_bad else ""
        title = self.contenders[trial.contender].title
        return f"{title}, {events.good:,} rows of {trial.task.kind}{bad}, {trial.task.window.title}"


SMALL = 1_000


def small_sample(events: EventSet) -> EventSet:
    """The first thousand rows of a set's first file."""
    return replace(events, parts=1, head=SMALL, has_bad=False)
