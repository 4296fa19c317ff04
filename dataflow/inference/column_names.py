"""What the name of a column suggests: the words for times, keys and measures in English schemas."""

import json
import re
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")


def words_of(name: str) -> tuple[str, ...]:
    """The lower-case words of a name.

    >>> words_of("dropoffTime_UTC2")
    ('dropoff', 'time', 'utc', '2')
    """
    return tuple(word.lower() for word in _WORD.findall(name))


def spoken(name: str) -> str:
    """A name for a comment or a message: on one line, printable, short, and without text that the job file replaces."""
    shown = name if name.isprintable() and name.strip() == name and name else json.dumps(name)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return shown.replace("${", "$ {")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


USUAL_TIMES: Final = _words(
    "t ts time timestamp event_time event_ts event_timestamp datetime date_time date created_at time_hour"
    " occurred_at eventtime unixtime epoch"
)
"""Whole names, with words joined by `_`, that nearly always mean an event time."""

TIMES: Final = _words("ts time timestamp datetime date day at epoch when hour millis")

OTHER_TIMES: Final = _words(
    "birth birthday dob expires expiry expiration valid until end ended updated modified ingested ingestion received"
    " processed loaded inserted deleted arrival dropoff due next last"
)
"""Times before or after the event, or of its processing, rather than of the event itself."""

CALENDAR: Final = _words("year month day hour minute second week weekday quarter ts date timestamp datetime epoch at")

CLOCKS: Final = _words("sched scheduled start end dep arr departure arrival open close pickup dropoff")
"""Together with `time`: a point in time, not a duration."""

IDENTIFIERS: Final = _words(
    "id ids key code zip postcode phone flight trip nr no number isbn sku serial lat lon lng latitude longitude"
    " index row line uid version"
)
"""Numbers that are not added up, and are not times however large they are."""

STRONG_KEYS: Final = _words(
    "id key code carrier sensor device user customer account station host machine vehicle store shop region country"
    " city origin channel service product merchant currency tenant site"
)
WEAK_KEYS: Final = _words("name type status state kind category level group class method topic")
