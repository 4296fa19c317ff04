"""The sources that can be followed: each has its own class of progress, which savepoints name."""

from importlib import import_module
from typing import Any, Final

_PROGRESS: Final = {
    "Progress": "transforms.time.watermark",
    "KafkaProgress": "transforms.collection.kafka.progress",
}


def progress_kind(name: str) -> Any:
    """The class of a source's progress by name; it has `from_json`.

    >>> progress_kind("Progress").__name__
    'Progress'
    """
    return getattr(import_module(_PROGRESS[name]), name)
