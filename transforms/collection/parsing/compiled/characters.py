"""The characters of JSON, as octets."""

from typing import Final

OPEN: Final = ord("{")
CLOSE: Final = ord("}")
OPEN_LIST: Final = ord("[")
TO_CLOSING: Final = 2
"""From what opens an object or a list to what closes it."""
COMMA: Final = ord(",")
COLON: Final = ord(":")
QUOTE: Final = ord('"')
ESCAPE: Final = ord("\\")
NEWLINE: Final = ord("\n")
RETURN: Final = ord("\r")
TAB: Final = ord("\t")
SPACE: Final = ord(" ")
MINUS: Final = ord("-")
PLUS: Final = ord("+")
POINT: Final = ord(".")
ZERO: Final = ord("0")
TO_SMALL: Final = 0x20
"""The bit that makes a capital letter a small one."""
