"""How a running job is asked to end, in whatever process its source is read: by a word in a file."""

import os
from typing import Final

STOP: Final = "stop"
FINISH: Final = "finish"
"""What a job may be asked for: to stop where it is, or when all is read."""


def ask(control: str, what: str) -> None:
    """Asks whoever follows a source, in whatever process, to end; an empty text takes it back."""
    with open(f"{control}.new", "w", encoding="utf-8") as file:
        file.write(what)
    os.replace(f"{control}.new", control)


def asked_for(control: str) -> str:
    """What was asked for; empty: nothing."""
    try:
        with open(control, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
