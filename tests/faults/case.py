"""One case: a scenario with a seed, from an empty folder to a verdict."""

import random
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.faults.processes import Nursery
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stage import Stage, remove
from tests.faults.verdict import Expected, Verdict, judge
from tests.waiting import Stuck

SECONDS: Final = 4.0
"""How long the senders of a case send, if nothing holds them up."""


@dataclass(frozen=True)
class Case:
    """What came out of a scenario with a seed; `folder` is there still when it is not good."""

    name: str
    seed: int
    verdict: Verdict
    seconds: float
    folder: Path


def play(
    name: str,
    scenario: Scenario,
    seed: int,
    nursery: Nursery,
    *,
    seconds: float = SECONDS,
    patches: Mapping[str, str] | None = None,
    keep: bool = True,
) -> Case:
    """Plays a case, and removes its folder if all is well, or if nobody wants to `keep` it."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-{seed}-")).resolve()
    stage = Stage(folder, random.Random(f"{name} {seed}"), nursery, max(seconds, scenario.seconds), dict(patches or {}))
    try:
        verdict = _verdict(scenario, stage)
    finally:
        stage.clear()
    if verdict.is_good or not keep:
        remove(folder)
    return Case(name, seed, verdict, time.monotonic() - began, folder)


def _verdict(scenario: Scenario, stage: Stage) -> Verdict:
    try:
        scenario.set_up(stage)
        stage.prepare()
        stage.begin()
        if scenario.sends:
            stage.send()
        scenario.disturb(stage)
        stage.settle()
        expected = {name: Expected(order=sent.lines) for name, sent in stage.sent.items()}
        return judge(stage, expected | stage.expected, exact=stage.is_exact)
    except Stuck as error:
        return Verdict(stage.faults, wrong=[f"stuck: {error}", *stage.unexpected()])
    except Exception:  # noqa: BLE001  # a case that breaks must not end all the others
        return Verdict(stage.faults, wrong=[traceback.format_exc(), *stage.unexpected()])


@cache
def _nursery() -> Nursery:
    return Nursery()


def play_named(name: str, seed: int) -> Case:
    """Plays a case of a scenario by its name, with this process's own nursery."""
    return play(name, SCENARIOS[name], seed, _nursery())
