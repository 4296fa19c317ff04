"""Time: events' times and windows, time zones, the watermark, and the ticks of a live pipeline."""
