"""Files as a source: found, cut into ranges, opened, and read side by side."""
