"""Parsing: bytes of any format in; columns by the value rules, and what they refuse, out."""
