import sys

import pytest

from containers.entry import BOOT, command

CALLED_BY_BEAM = (
    # worker_pool_main.py
    [
        f"--{flag}=x"
        for flag in ("id", "logging_endpoint", "artifact_endpoint", "provision_endpoint", "control_endpoint")
    ],
    # Prism, and Flink's DockerEnvironmentFactory
    ["--id=1", "--provision_endpoint=localhost:1"],
    ["-id", "1"],
    ["--worker_pool"],
)


@pytest.mark.parametrize("arguments", CALLED_BY_BEAM, ids=lambda arguments: arguments[0])
def test_what_beam_calls_is_its_boot_program(arguments: list[str]) -> None:
    assert command(arguments) == [BOOT, *arguments]


@pytest.mark.parametrize(
    "arguments", [["run", "job.yaml"], ["--job=job.yaml"], ["--version"], ["collect", "--log", "l"]]
)
def test_everything_else_is_a_command_of_ours(arguments: list[str]) -> None:
    assert command(arguments) == [sys.executable, "-m", "dataflow.main", *arguments]


def test_without_arguments_it_says_what_there_is() -> None:
    assert command([]) == [sys.executable, "-m", "dataflow.main", "--help"]
