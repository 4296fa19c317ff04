"""Records that no reader should accept, mixed into clean ones."""

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

GOOD_PER_BAD = 99  # one record in a hundred is bad

# Every line is refused for a reason of its own; all of them cost a reader another path.
KINDS = (
    b'{"sensor":"s1","ts":1700000040013,"feature":20.5,"tar\n',  # cut off
    b"ERROR connection reset by peer\n",  # not JSON at all
    b'{"sensor":"s2","ts":"soon","feature":20.5,"target":1.5}\n',  # text for an integer
    b'{"sensor":"s3","ts":1700000040013,"feature":"high","target":1.5}\n',  # text for a number
    b'{"sensor":"s4","ts":1700000040013,"feature":20.5}\n',  # a field is missing
    b'{"sensor":{"id":5},"ts":1700000040013,"feature":20.5,"target":1.5}\n',  # an object for text
    b'{"sensor":"s6","ts":1700000040013.7,"feature":20.5,"target":1.5}\n',  # a fraction for an integer
    b'{"sensor":"s7","ts":1700000040013,"feature":1e999,"target":1.5}\n',  # beyond a double
    b'{"sensor":"s8","ts":1700000040013,"feature":NaN,"target":1.5}\n',  # not a JSON number
    b'{"sensor":"s\xff\xfe","ts":1700000040013,"feature":20.5,"target":1.5}\n',  # not UTF-8
    b'{"sensor":"s10","ts":1700000040013,"feature":[20.5],"target":1.5}\n',  # an array for a number
    b'{"sensor":"s11","ts":9000000000000000000,"feature":20.5,"target":1.5}\n',  # an impossible time
)


def bad_count(good: int) -> int:
    """How many bad records `mix_in` adds to `good` clean ones."""
    return good // GOOD_PER_BAD


def mix_in(clean: Path, target: Path) -> None:
    """Copies the lines of `clean` and puts a bad one after every 99th; the good ones stay as they are, in order."""
    with clean.open("rb") as lines, target.open("wb") as out:
        out.writelines(mixed(lines))


def mixed(lines: Iterator[bytes]) -> Iterator[bytes]:
    bad = cycle(KINDS)
    while block := list(islice(lines, GOOD_PER_BAD)):
        yield from block
        if len(block) == GOOD_PER_BAD:
            yield next(bad)
