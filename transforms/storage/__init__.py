"""Storage: tables staged by workers, and published together into folders and databases."""
