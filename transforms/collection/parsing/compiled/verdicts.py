"""What becomes of a line, or is wrong with a value."""

GOOD, SKIPPED, NO_OBJECT, NO_JSON, UNKNOWN, MISSING, NESTED, WRONG, BEYOND, NO_NUMBER, HALF_PAIR, HAS_NUL = range(12)
"""SKIPPED: refused before; BEYOND: an integer that is no event time; NO_NUMBER: NaN, an infinity or an overflow."""
