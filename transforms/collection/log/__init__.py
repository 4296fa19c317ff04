"""The collector's log as a source: its file, who writes and reads it, what it has lost, and its chunks as records."""
