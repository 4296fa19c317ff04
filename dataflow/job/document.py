"""The job file as a document: YAML with line numbers, `${NAME}` from the environment, `--set` on top.

Nothing here is about jobs. A place is a tuple of names and indices; problems name their place, and the document has
the line of each place.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.errors import JobFileError
from dataflow.job.problem import Place, Problem
from dataflow.job.yaml_text import YamlError, read_yaml
from transforms.refusal import dotted, value_at

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class Document:
    """The content as written, the content with the environment filled in, and the line of every place."""

    name: str
    folder: str
    content: dict[str, Any]
    written: dict[str, Any]
    lines: dict[Place, int]
    from_command_line: dict[Place, str] = field(default_factory=dict)

    def error(self, problems: Iterable[Problem]) -> JobFileError:
        """All problems as one error, in the order of the file."""
        placed = sorted(problems, key=lambda problem: self._line(problem.place) or 0)
        return JobFileError(list(dict.fromkeys(self._format(problem) for problem in placed)), placed)

    def value(self, place: Place) -> Any:
        """The value at a place as it was written, without secrets; None: there is none."""
        return value_at(self.written, place)

    def _format(self, problem: Problem) -> str:
        sentence = self._without_secrets(problem)
        for place, name in self.from_command_line.items():
            # A setting may be above the place that is wrong, or below it if the file does not have the place.
            above = problem.place[: len(place)] == place
            if above or (problem.place not in self.lines and place[: len(problem.place)] == problem.place != ()):
                return f"--set {name}: {sentence if above else dotted(problem.place) + ' ' + sentence}"
        line = self._line(problem.place)
        where = f"{self.name}:{line}" if line else self.name
        return f"{where}: {dotted(problem.place)}: {sentence}" if problem.place else f"{where}: {sentence}"

    def _without_secrets(self, problem: Problem) -> str:
        """A sentence in which `${NAME}` replaces the values that its place has from the environment."""
        sentence = problem.sentence
        for name in sorted(set(_variables(_nearest(self.written, problem.place)))):
            if os.environ.get(name):
                # A backslash in a replacement has a meaning, but no name contains one.
                sentence = re.sub(rf"(?<!\w){re.escape(os.environ[name])}(?!\w)", f"${{{name}}}", sentence)
        return sentence

    def _line(self, place: Place) -> int | None:
        return next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), None)


def read_document(path: str, settings: Sequence[str] = ()) -> Document:
    """Reads a job file and applies `--set a.b=value` settings.

    Raises:
        JobFileError: if there is no such file, it is not a YAML mapping, or a variable is not set.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise JobFileError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise JobFileError([f"{path}: is not UTF-8"]) from None
    try:
        content, lines = read_yaml(text)
    except YamlError as error:
        where = f"{path}:{error.line}" if error.line else path
        raise JobFileError([f"{where}: {error}"]) from None
    if not isinstance(content, dict):
        raise JobFileError([f"{path}: must be a mapping with `job`, `source`, `record`, `aggregations` and `sinks`"])
    overridden = {}
    for setting in settings:
        place = _apply(content, setting)
        overridden[place] = setting.partition("=")[0]  # its value may be a secret
    problems: list[Problem] = []
    substituted = _substitute(content, (), problems)
    folder = str(Path(path).resolve().parent)
    document = Document(path, folder, substituted, content, lines, overridden)
    if problems:
        raise document.error(problems)
    return document


def _apply(content: Any, setting: str) -> Place:
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise JobFileError([f"--set {setting}: must be FIELD=VALUE, such as execution.shards=4"])
    try:
        value, _ = read_yaml(text)
    except YamlError:
        value = text
    place: list[str | int] = []
    parts = name.split(".")
    for index, part in enumerate(parts):
        key: str | int = int(part) if isinstance(content, list) and part.isdigit() else part
        place.append(key)
        known = isinstance(content, dict) or (isinstance(content, list) and isinstance(key, int) and key < len(content))
        if not known:
            raise JobFileError([f"--set {setting}: the job file has no {dotted(tuple(place))}"])
        if index == len(parts) - 1:
            content[key] = value
        elif isinstance(content, dict):
            content = content.setdefault(str(key), {})
        else:
            content = content[key]
    return tuple(place)


def _substitute(content: Any, place: Place, problems: list[Problem]) -> Any:
    if isinstance(content, dict):
        return {key: _substitute(value, (*place, key), problems) for key, value in content.items()}
    if isinstance(content, list):
        return [_substitute(value, (*place, index), problems) for index, value in enumerate(content)]
    if not isinstance(content, str):
        return content

    def look_up(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            problems.append(Problem(place, f"the environment variable {match[1]} is not set"))
            return ""
        return os.environ[match[1]]

    return _VARIABLE.sub(look_up, content)


def _variables(content: Any) -> Iterator[str]:
    """The environment variables that a content refers to."""
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _variables(value)
    elif isinstance(content, str):
        yield from _VARIABLE.findall(content)


def _nearest(content: Any, place: Place) -> Any:
    """The value at a place, or at the last part of it that exists."""
    for part in place:
        following = value_at(content, (part,))
        if following is None:
            break
        content = following
    return content
