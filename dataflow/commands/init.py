"""`init`: a job file to start from."""

from collections.abc import Sequence
from pathlib import Path

import click

from dataflow.errors import UsageError
from dataflow.inference import infer


def write_job_file(files: Sequence[str], name: str | None, output: str | None) -> None:
    """Prints the job file, or writes it to `output`, which must not exist yet.

    Raises:
        InferenceError: if the data do not suit a job.
        UsageError: if the file exists already, or cannot be written.
    """
    folder = Path(output).parent if output is not None else Path()
    if not folder.is_dir():
        raise UsageError(f"{output}: there is no folder {folder}")
    text = infer(files, job=name, folder=str(folder))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{output} already exists; use another -o") from None
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from None
    click.echo(f"{output}: review it, then: streamgauge run {output}", err=True)
