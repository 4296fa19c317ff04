"""Streamgauge against its peers, on the same events and the same cores: `python -m benchmarks`."""
