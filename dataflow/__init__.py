"""The job: its file, its graph, and the commands around it."""

__version__ = "0.2.0"
