"""Infers a first job file from data: columns, types, event time and a likely key, with reasons."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from dataflow.errors import InferenceError
from dataflow.inference.aggregation_choice import choose_aggregation
from dataflow.inference.data_file import DataFile, Format, find
from dataflow.inference.event_time import rank_event_times
from dataflow.inference.job_text import write_job
from dataflow.inference.parquet_sample import sample_parquet
from dataflow.inference.sample import Sample
from dataflow.inference.text_sample import sample_csv, sample_json_lines

__all__ = ["InferenceError", "infer"]

_SAMPLERS: Final[dict[Format, Callable[[Sequence[DataFile]], Sample]]] = {
    "parquet": sample_parquet,
    "jsonl": sample_json_lines,
    "csv": sample_csv,
}
_JOB_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LONGEST_JOB_NAME: Final = 60
_ENDINGS: Final = re.compile(r"\.(?:parquet|pq|jsonl|ndjson|csv|json|txt|gz|zst)\b")


def infer(paths: Sequence[str], *, job: str | None = None, folder: str = ".") -> str:
    """Writes a job file for the records in `paths`.

    It reads only a sample: about 2 MB or 20,000 records of text; of Parquet the schema, the statistics and the
    first records; and only some of many files. The same files give the same text.

    Args:
        paths: files of one format (Parquet, JSON Lines or CSV; plain, .gz or .zst) or patterns of such. A
            relative path is relative to the working directory.
        job: the name of the job; by default derived from the names of the files.
        folder: the folder of the job file; paths in the file are relative to it.

    Returns:
        YAML with comments: a valid job that runs unchanged.

    Raises:
        InferenceError: these files do not suit a job; the message says which file and why.
    """
    if job is not None and not _JOB_NAME.fullmatch(job):
        raise InferenceError(f"a job's name has letters, digits, '_', '.' and '-', first a letter or digit; is {job!r}")
    data = find(paths)
    data = replace(data, entries=tuple(_seen_from(folder, entry) for entry in data.entries))
    sample = _SAMPLERS[data.format](data.files)
    times = rank_event_times(sample)
    name = job or _job_name([file.path for file in data.files])
    return write_job(name, data, sample, times, choose_aggregation(sample, times[0]))


def _seen_from(folder: str, path: str) -> str:
    return path if os.path.isabs(path) or os.path.samefile(folder, ".") else os.path.relpath(path, folder)


def _job_name(paths: Sequence[str]) -> str:
    """A job's name from its files: the common part of their names, or the first name.

    >>> _job_name(["in/flights-01.csv.gz", "in/flights-02.csv.gz"]), _job_name(["_été 2024.csv"]), _job_name(["é"])
    ('flights', 't_2024', 'job')
    """
    stems = [_ENDINGS.sub("", os.path.basename(path)) for path in paths]
    common = stems[0]
    for stem in stems[1:]:
        while not stem.startswith(common):
            common = common[:-1]
    if len(stems) > 1:
        common = common.rstrip("0123456789-_. ")
    for stem in (common, stems[0]):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).lstrip("_.-")[:_LONGEST_JOB_NAME].rstrip("_.-")
        if len(name) > 1 or (name and stem is stems[0]):  # a single common letter is chance
            return name
    return "job"
