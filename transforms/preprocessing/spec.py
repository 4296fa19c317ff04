"""The steps of preprocessing as the job file writes them: each is a mapping with one name."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field, model_validator

from transforms.specification import ONE_OR_MORE, Number, OneOf, Spec, Whole

Scalar = bool | int | float | str


Bound = Whole | Annotated[Number, Field(allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], ONE_OR_MORE, Field(min_length=1)]


class TrimSpec(Spec):
    """Removes white space at both ends of texts."""

    trim: Names


class DropNullsSpec(Spec):
    """Drops records in which one of the columns is null; they count as `filtered`."""

    drop_nulls: Names


class FillSpec(Spec):
    """Replaces nulls with a value."""

    fill: dict[str, Scalar] = Field(min_length=1)


class ClipSpec(Spec):
    """Moves numbers outside [low, high] to the nearer bound; a null bound is open."""

    clip: dict[str, tuple[Bound | None, Bound | None]] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> "ClipSpec":
        for column, (low, high) in self.clip.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"clip.{column} must have its lower bound first, is [{low}, {high}]")
        return self


class DeriveSpec(Spec):
    """Adds or replaces columns by SQL scalar expressions; each may use the columns before it."""

    derive: dict[str, str] = Field(min_length=1)


class FilterSpec(Spec):
    """Keeps records for which an SQL condition is true; the others count as `filtered`."""

    filter: str


class Pseudonymisation(Spec):
    """The columns, and the environment variable that holds the key."""

    columns: Names
    key_env: str = Field(min_length=1)


class PseudonymiseSpec(Spec):
    """Replaces values with their keyed HMAC-SHA256 in hexadecimal: the same value, the same pseudonym, in every run."""

    pseudonymise: Pseudonymisation


class Split(Spec):
    """The share of each part, and the columns whose values decide the part."""

    into: dict[str, Number] = Field(min_length=1)
    by: Names

    @model_validator(mode="after")
    def _shares(self) -> "Split":
        if any(share <= 0 for share in self.into.values()) or abs(sum(self.into.values()) - 1) > 1e-9:
            raise ValueError(
                f"split.into must be shares above 0 that add up to 1, and adds up to {sum(self.into.values()):g}"
            )
        return self


class SplitSpec(Spec):
    """Adds the column `split`, by a hash of values: the same values always belong to the same part."""

    split: Split


class ApplySpec(Spec):
    """Calls `module:function`, which turns a pandas DataFrame into one with the same length and index."""

    apply: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


STEPS: Final[Mapping[str, type[Spec]]] = {
    "trim": TrimSpec,
    "drop_nulls": DropNullsSpec,
    "fill": FillSpec,
    "clip": ClipSpec,
    "derive": DeriveSpec,
    "filter": FilterSpec,
    "pseudonymise": PseudonymiseSpec,
    "split": SplitSpec,
    "apply": ApplySpec,
}
"""Every step by its name."""


StepSpec = Annotated[Spec, OneOf(lambda: STEPS, "unknown_step", "must be a mapping with one of the steps")]
"""A step as the job file writes it: a mapping with one of STEPS."""
