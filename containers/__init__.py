"""The container image. `requirements.txt` locks every package that a worker uses."""
