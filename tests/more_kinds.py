"""Kinds of models and of windows of the tests' own, as if their files lay where the project's kinds lie."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

from transforms.model import kinds as models
from transforms.model.kind import kinds
from transforms.time import windows
from transforms.time.window import forget_kinds

HERE: Final = Path(__file__).parent


@contextmanager
def more_kinds() -> Iterator[None]:
    """Lets the files of `kinds_of_models` be kinds: no file of the project changes."""
    with _more(models, HERE / "kinds_of_models", kinds.cache_clear):
        yield


@contextmanager
def more_windows() -> Iterator[None]:
    """Lets the files of `kinds_of_windows` be kinds: no file of the project changes."""
    with _more(windows, HERE / "kinds_of_windows", forget_kinds):
        yield


@contextmanager
def _more(package: ModuleType, folder: Path, forget: Callable[[], None]) -> Iterator[None]:
    package.__path__.append(str(folder))
    forget()
    try:
        yield
    finally:
        package.__path__.remove(str(folder))
        forget()
        for path in folder.glob("*.py"):
            sys.modules.pop(f"{package.__name__}.{path.stem}", None)
            if hasattr(package, path.stem):
                delattr(package, path.stem)
