"""Dead letters: where they go, as the job file writes it."""

from typing import Final

from pydantic import Field

from transforms.specification import Number, Spec

FAIL_ABOVE: Final = 0.5
"""If more than half of the records are refused, the job file is wrong, not the data."""


class DeadLettersSpec(Spec):
    """Where dead letters go, and how many are too many.

    `fail_above` is a share of the records read; above it a run publishes nothing and ends with exit code 3.
    """

    path: str | None = None
    fail_above: Number = Field(default=FAIL_ABOVE, ge=0, le=1)
