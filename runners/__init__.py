"""Engines: which Beam runner executes a job, and with which options. Nothing here knows our data."""
