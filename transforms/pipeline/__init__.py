"""Transforms for a pipeline of your own, over all stages, with the options of a job file."""
