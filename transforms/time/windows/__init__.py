"""The kinds of windows, one a file."""
