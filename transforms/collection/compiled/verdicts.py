"""What becomes of a line, or is wrong with one of its values."""

GOOD, SKIPPED, NO_OBJECT, NO_JSON, HALF_PAIR, UNKNOWN, MISSING, NESTED, NO_NUMBER, ZERO_TEXT, WRONG, BEYOND = range(12)
"""SKIPPED: refused before; NO_NUMBER: NaN, an infinity or an overflow; BEYOND: an integer that is no event time."""
