"""The kinds of models, one file or folder a kind: what it is asked, what it keeps, and the figures that it learns."""
