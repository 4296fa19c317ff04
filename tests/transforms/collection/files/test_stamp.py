"""Stamps: what two looks at a file say of it."""

from dataclasses import replace

import pytest

from transforms.collection.files.stamp import Stamp

STORED = Stamp((("etag", "a"),), "", 10, "noon")
LOCAL = Stamp((("inode", "7"),), "here", 10, "noon")
MOVED = Stamp((("inode", "8"),), "elsewhere", 10, "noon")
REPLACED = "it had 10 bytes when it was listed, and another file of 10 bytes is there now"
WRITTEN = "it was listed as written at noon, and was written to at one"
RESIZED = "it had 10 bytes when it was listed, and has {} bytes now"


@pytest.mark.parametrize(
    "listed, now, difference",
    [
        (STORED, Stamp((("etag", "a"), ("version_id", "1")), "", 10, "12:00:00.000"), None),
        (STORED, Stamp((("etag", "b"), ("version_id", "1")), "", 10, "noon"), REPLACED),
        (
            STORED,
            Stamp((("generation", "1"),), "", 10, "one"),
            "it was listed as written at noon, and was written to at one",
        ),
        (Stamp((), "", None, "noon"), Stamp((), "", 3, "noon"), None),
        (Stamp((), "", 1, "noon"), Stamp((), "", 30, "noon"), "it had 1 byte when it was listed, and has 30 bytes now"),
        (LOCAL, Stamp((("inode", "8"),), "here", 10, "noon"), REPLACED),
        (LOCAL, MOVED, None),
        (
            LOCAL,
            Stamp((("inode", "8"),), "elsewhere", 9, "noon"),
            "it had 10 bytes when it was listed, and has 9 bytes now",
        ),
        (
            LOCAL,
            Stamp((("inode", "7"),), "here", 11, "one"),
            "it had 10 bytes when it was listed, and has 11 bytes now",
        ),
        (replace(LOCAL, tail=b"tail"), replace(LOCAL, size=11, modified="one"), None),
    ],
)
def test_a_file_is_the_same_by_what_both_looks_know_of_it(listed: Stamp, now: Stamp, difference: str | None) -> None:
    assert listed.difference(now) == difference
