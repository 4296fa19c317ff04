"""Aggregation: statistics as mergeable state, partials by key and slice, windows out of slices."""
