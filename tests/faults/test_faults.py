"""Whatever is killed, stopped, cut, filled or locked: nothing is lost, nothing twice; `make faults` has more seeds."""

from collections.abc import Iterator

import pytest

from tests.faults.case import play
from tests.faults.processes import Nursery
from tests.faults.scenarios import EARLY, SCENARIOS, Scenario

pytestmark = pytest.mark.slow

SEED = 20_261_122
SECONDS = 2.0
PLANTED_SECONDS = 5.0  # a job that starts again has something left to read
SHORT = ["kill_collector", "kill_job", "kill_both", "kill_sender", "cut_connections", "send_again", "set_clock_back"]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_costs_nothing(name: str, nursery: Nursery) -> None:
    case = play(name, SCENARIOS[name], SEED, nursery, seconds=SECONDS)
    print(f"seed {case.seed}, in {case.folder}", *case.verdict.wrong, sep="\n")
    assert case.verdict.is_good
    assert case.verdict.faults and case.verdict.records


@pytest.mark.parametrize(
    ("process", "fault", "scenario"),
    [
        ("collector", "acknowledge_before_commit", SCENARIOS["kill_collector"]),
        ("job", "checkpoint_before_rows", EARLY),
        ("job", "no_rewind", EARLY),
    ],
)
def test_a_planted_fault_is_found(process: str, fault: str, scenario: Scenario, nursery: Nursery) -> None:
    patches = {process: f"tests.faults.planted:{fault}"}
    for seed in range(SEED, SEED + 4):
        case = play(fault, scenario, seed, nursery, seconds=PLANTED_SECONDS, patches=patches, keep=False)
        print(f"seed {seed}:", *case.verdict.wrong, sep="\n    ")
        if case.verdict.lost or case.verdict.twice:
            return
    raise AssertionError(f"{fault} was not found")
