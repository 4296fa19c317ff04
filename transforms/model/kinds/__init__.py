"""The kinds of models, one file or folder a kind: its specification, its state, and the figures that it learns."""
