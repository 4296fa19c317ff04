"""The same question in each peer's own words.

Every script answers, for each sensor and minute: how many rows; mean, std, min and max of the feature; the line of the
target over the feature. Columns: sensor, window_start (ms), n, mean, std, min, max, slope, intercept, r2.
"""
