"""Arithmetic with two doubles to a number: the second double holds what the first rounds away.

Sources: Knuth, TAOCP 2, 4.2.2, theorem B; Dekker, "A floating-point technique for extending the available
precision", Numerische Mathematik 18, 1971; Rump, Ogita, Oishi, "Accurate floating-point summation", SIAM J. Sci.
Comput. 31, 2008, lemma 3.3.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from transforms.aggregation.groups import Groups

Doubles = npt.NDArray[np.float64]

HUGE: Final = 2.0**900
"""Products and sums of numbers beyond this may overflow on the way to a result that does not."""
SHRUNK: Final = 2.0**-128
"""The factor that scales numbers beyond `HUGE` during a calculation: a power of two, so no digit is lost."""
_HALVES: Final = 2.0**27 + 1


def two_sum(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """The rounded sum and its exact error."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def two_product(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """The rounded product and its exact error, of numbers below `HUGE`; also of tiny ones where `a` is whole."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def group_sums(groups: Groups, high: Doubles, low: Doubles) -> tuple[Doubles, Doubles]:
    """The sums of `high` + `low` over each group as a rounded sum and the rest, to some 100 bits.

    `low` is small compared with the largest `high` of its group. The result does not depend on the order of the
    numbers, and whole numbers are added without an error.
    """
    coarse, left = _on_a_grid(groups, high)
    fine, left = _on_a_grid(groups, left + low)
    total, rest = two_sum(coarse, fine)
    return two_sum(total, rest + groups.reduce(np.add, left))


def _on_a_grid(groups: Groups, values: Doubles) -> tuple[Doubles, Doubles]:
    """The exact sums of each group's values on a grid so wide that adding never rounds; and what the grid cut off."""
    _, exponent = np.frexp(groups.reduce(np.maximum, np.abs(values)))
    _, terms = np.frexp(groups.counts + 2.0)
    grid = groups.spread(np.ldexp(1.0, exponent + terms))
    rounded = (grid + values) - grid
    return groups.reduce(np.add, rounded), values - rounded


def _halves(a: Doubles) -> tuple[Doubles, Doubles]:
    stretched = a * _HALVES
    high = stretched - (stretched - a)
    return high, a - high
