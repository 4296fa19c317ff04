"""Preprocessing: steps that clean, derive, filter and split batches before they are counted."""
