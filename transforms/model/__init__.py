"""Models: what is learnt from the same partials as the statistics, window by window."""
