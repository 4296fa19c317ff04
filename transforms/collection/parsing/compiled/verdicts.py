"""Verdicts on lines, and on values."""

GOOD, SKIPPED, NO_OBJECT, NO_JSON, UNKNOWN, MISSING, NESTED, WRONG, BEYOND, NO_NUMBER, HALF_PAIR, HAS_NUL = range(12)
"""SKIPPED: refused earlier; BEYOND: an integer outside the event times; NO_NUMBER: NaN, an infinity or an overflow."""
