"""Options and helpers that several commands share."""

import sys
from collections.abc import Callable
from typing import Any, Final

import click

PASS_ON: Final[dict[str, Any]] = {"ignore_unknown_options": True, "allow_extra_args": True}
"""For commands whose unknown flags go to Beam."""

JOB: Final = click.argument("job", metavar="JOB", type=click.Path(dir_okay=False))
SET: Final = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Overrides a field of the job file: execution.shards=4.",
)


class InOrder(click.Group):
    """Lists commands in the order of a job's life, not in alphabetical order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def leave(code: int) -> None:
    """Ends a command with an exit code."""
    if code:
        raise click.exceptions.Exit(code)


def say_of(job: str) -> Callable[[str], None]:
    """Prints sentences about a job without buffering, so that a pipe receives them at once."""

    def say(sentence: str) -> None:
        click.echo(f"{job}: {sentence}")
        sys.stdout.flush()

    return say
