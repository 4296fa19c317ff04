"""Kinds of models of the tests' own, as if their files lay where the project's kinds lie."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from transforms.model import kinds as package
from transforms.model.kind import kinds

FOLDER: Final = Path(__file__).parent / "kinds_of_models"
NAMES: Final = ("mean_of", "smoothed")


@contextmanager
def more_kinds() -> Iterator[None]:
    """Lets the files of the folder be kinds: no file of the project changes."""
    package.__path__.append(str(FOLDER))
    kinds.cache_clear()
    try:
        yield
    finally:
        package.__path__.remove(str(FOLDER))
        kinds.cache_clear()
        for name in NAMES:
            sys.modules.pop(f"{package.__name__}.{name}", None)
            if hasattr(package, name):
                delattr(package, name)
