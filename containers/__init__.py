"""The box: what ships. `requirements.txt` locks every package that a worker runs with."""
