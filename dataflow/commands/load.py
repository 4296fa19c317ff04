"""Reads, validates and plans a job file; every command except `init` and `schema` begins with this."""

import sys
from collections.abc import Sequence

from dataflow.job.document import read_document
from dataflow.job.plan import Job, bind


def load_job(path: str, settings: Sequence[str] = ()) -> Job:
    """The planned job.

    Raises:
        JobFileError: says everything that is wrong with it.
        SourceError: if it takes its columns from files that cannot be read.
    """
    document = read_document(path, settings)
    # A function that a step applies may be in the folder of the job file.
    if document.folder not in sys.path:
        sys.path.append(document.folder)
    return bind(document)
