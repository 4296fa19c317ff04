"""The statistics of a column, one file a family: what it is called, what it means, and the algebra of its state."""
