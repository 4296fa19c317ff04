"""The characters of JSON, as octets."""

from typing import Final

OPEN: Final = ord("{")
CLOSE: Final = ord("}")
OPEN_LIST: Final = ord("[")
TO_CLOSING: Final = 2
"""Added to a character that opens an object or a list, gives the one that closes it."""
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
"""The bit that turns a capital letter into a small one."""
