"""Files as a source: listed, cut into ranges, opened, and read in parallel."""
