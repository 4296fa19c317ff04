"""Parquet folders that a job's manifest does not name: written by an earlier version, moved, new, or another job's."""

from collections.abc import Iterable

from transforms.errors import StateRefused
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.parquet import folder as parquet
from transforms.storage.parquet import growing as parquet_log


def has_rows_of_others(folder: str, owner: str | None) -> bool:
    """Whether a Parquet folder holds rows that do not belong to `owner`."""
    manifest = parquet.read_manifest(folder)
    if owner is not None and manifest.get("owner") == owner:
        return False
    return bool(manifest.get("files")) and parquet.rows_in(folder) > 0


def moved_from(folder: str, others: Iterable[str]) -> str | None:
    """Of folders that the job no longer has, the one that was moved here: its last two names are the same."""
    found = [other for other in others if other.rsplit("/", 2)[-2:] == folder.rsplit("/", 2)[-2:]]
    return found[0] if len(found) == 1 else None


def files_in(folder: str, job: str, manifest: Manifest) -> list[str]:
    """The live files of a folder that the manifest does not name: written by an older version, or none.

    Raises:
        StateRefused: if it holds rows that are not on the job's line.
    """
    found = parquet.read_manifest(folder)
    names = list(found.get("files", []))
    if not manifest.files and found.get("job") == job and "owner" not in found:
        return parquet_log.rewound(folder, names, manifest.at.name, manifest.attempt)
    if names and parquet.rows_in(folder) > 0:
        raise StateRefused(
            f"{folder}, a new sink, holds rows of {found.get('job')}; give this job another path, or empty it"
        )
    return []
