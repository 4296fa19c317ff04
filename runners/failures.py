"""Turns the failure texts of the programs that run a job into types.

Beam's workers return a traceback, sometimes followed by a step's name; Prism returns its own sentence or a worker's
text; Flink returns a stack trace of Java, perhaps around one of Python.
"""

import re
from dataclasses import dataclass
from typing import Final

_WORDS_MOST: Final = 400
_WHILE: Final = re.compile(r" \[while running '.*'\]$", re.DOTALL)
_RAISED: Final = re.compile(r"^(?:[\w.]+\.)?(\w+): (.*?)(?: \[while running '.*'\])?$", re.MULTILINE | re.DOTALL)
_OF_PRISM: Final = ("panic in ", "nothing in progress", "StatusCode.")
_OF_THE_SAVEPOINT: Final = ("annot map checkpoint/savepoint state", "ollback to", "ind checkpoint or savepoint")
_CAUSED: Final = re.compile(r"^\s*Caused by: (.*)$", re.MULTILINE)
_CLASSES: Final = re.compile(r"^(?:\[?[A-Za-z ]+\]?: |(?:[\w$]+\.)+[\w$]+(?:: |$))+")
_PYTHON: Final = re.compile(r"^((?:\w+\.)+\w+|\w+(?:Error|Exception)): (.+)$", re.MULTILINE)
"""The end of a Python traceback: classes have the module before their names, except the built-in ones."""


@dataclass(frozen=True, slots=True)
class Raised:
    """A Python exception from a text: the name of its class, and its message."""

    name: str
    message: str
    line: str


def raised_in(text: str) -> list[Raised]:
    """The exceptions in a worker's text, in order.

    >>> raised_in("Traceback\\n  File a\\nx.y.SinkError: disk full [while running 'Store']")[0].message
    'disk full'
    """
    lines = [line for line in text.splitlines() if not line.startswith(" ")]
    return [Raised(match[1], match[2], line) for line in lines if (match := _RAISED.match(line))]


def without_step(message: str) -> str:
    """A message without the step that Beam adds to it.

    >>> without_step("disk full [while running 'Store']")
    'disk full'
    """
    return _WHILE.sub("", message)


def is_of_prism(text: str) -> bool:
    """Whether Prism itself failed: its texts say so, unlike those of a failure in what it ran."""
    return any(word in text for word in _OF_PRISM)


def is_of_savepoint(text: str) -> bool:
    """Whether Flink failed because a savepoint does not belong to the job, or does not exist."""
    return any(word in text for word in _OF_THE_SAVEPOINT)


def root_cause(trace: str) -> str:
    r"""The root cause in a stack trace of Java, perhaps around one of Python, in one line.

    >>> root_cause("java.lang.RuntimeException: outer\n\tat a.B\nCaused by: java.io.IOException: disk full\n\tat c.D")
    'disk full'
    >>> root_cause("x.E: e\nCaused by: y.F: Error from worker: Traceback\n  File a\nValueError: no\n")
    'ValueError: no'
    """
    raised = [match for match in _PYTHON.finditer(trace) if "Traceback" in trace[: match.start()]]
    if raised:
        return f"{raised[-1][1].rpartition('.')[2]}: {raised[-1][2]}"[:_WORDS_MOST]
    caused = _CAUSED.findall(trace)
    line = caused[-1] if caused else (trace.strip().splitlines() or [""])[0]
    return (_CLASSES.sub("", line).strip() or line.strip())[:_WORDS_MOST]
