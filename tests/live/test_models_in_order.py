"""A model that learns in order, in a live job killed at any moment: that of the batch, from the same records."""

from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from tests.live.jobs import planned
from tests.live.life import Life
from tests.live.logs import random_log
from tests.live.simulator import Simulation
from tests.live.study import Study
from tests.live.world import World, Wrong
from tests.more_kinds import more_kinds

SMOOTHED: Final = {"kind": "smoothed", "column": "x", "rate": 0.25}
WINDOWS: Final[list[dict[str, Any]]] = [{"size": "10s"}, {"size": "20s", "every": "10s"}]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kill", [0.0, 0.2])
def test_its_table_is_that_of_the_batch_wherever_the_job_is_killed(
    tmp_path: Path, window: dict[str, Any], kill: float
) -> None:
    with more_kinds():
        aggregation = {"name": "a", "key": ["k"], "window": window, "allowed_lateness": "10s"}
        job = planned({"aggregations": [{**aggregation, "models": {"level": SMOOTHED}}]}, str(tmp_path))
        for seed in range(10):
            chance = Random(f"in order {seed}")
            tried = Simulation(Study(job, random_log(chance, 12)), World(), chance, Life, kill)
            try:
                tried.run()
            except Wrong as wrong:
                pytest.fail(f"seed {seed}, killed {kill}: {wrong}")
