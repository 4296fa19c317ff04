"""`schema`: the JSON schema of the job file."""

import json

import click

from dataflow.job.spec import schema


def print_schema() -> None:
    """Prints it, for editors and for tests."""
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
