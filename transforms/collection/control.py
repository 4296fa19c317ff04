"""How any process asks a running job to end: by a word in a file."""

import os
from typing import Final

STOP: Final = "stop"
FINISH: Final = "finish"
"""The requests: to stop at once, or to finish when everything is read."""


def ask(control: str, what: str) -> None:
    """Asks the process that follows a source to end; an empty text withdraws the request."""
    with open(f"{control}.new", "w", encoding="utf-8") as file:
        file.write(what)
    os.replace(f"{control}.new", control)


def asked_for(control: str) -> str:
    """The current request; empty if there is none."""
    try:
        with open(control, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
