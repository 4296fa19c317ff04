"""What the modules of a package declare: a file added to the package is found."""

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any


def declared_in(package: ModuleType, name: str) -> list[Any]:
    """The value that each module of a package has under a name."""
    modules = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return [getattr(import_module(module.name), name) for module in modules]
