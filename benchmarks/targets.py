"""What was measured against what was promised, in a table that grows while it is measured."""

from collections.abc import Iterable

Row = tuple[str, str, str, bool]
"""What was measured, the target, the figure, and whether it was met."""


def print_table(rows: Iterable[Row]) -> bool:
    """Prints each row as soon as it is there; returns whether every target was met."""
    all_met = True
    print("| measured | target | figure | |\n| :-- | :-- | :-- | :-- |", flush=True)
    for what, target, figure, met in rows:
        all_met &= met
        print(f"| {what} | {target} | {figure} | {'met' if met else '**missed**'} |", flush=True)
    return all_met
