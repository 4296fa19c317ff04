"""Count, mean, spread and line of one window, a row at a time: what the peers that call Python for each row fold with.

One flat tuple, so that no peer pays for an object a row. Means and centred sums, as by Welford (1962): raw sums of
squares would lose digits, and a peer's answer is checked like ours.
"""

import math

# n, mean of x, mean of y, centred sums of xx, xy and yy, least x, greatest x
Fit = tuple[int, float, float, float, float, float, float, float]
Answer = dict[str, int | float | None]

EMPTY: Fit = (0, 0.0, 0.0, 0.0, 0.0, 0.0, math.inf, -math.inf)


def extended(fit: Fit, x: float, y: float) -> Fit:
    n, mean_x, mean_y, xx, xy, yy, low, high = fit
    n += 1
    dx, dy = x - mean_x, y - mean_y
    mean_x += dx / n
    mean_y += dy / n
    rest_y = y - mean_y
    return (
        n,
        mean_x,
        mean_y,
        xx + dx * (x - mean_x),
        xy + dx * rest_y,
        yy + dy * rest_y,
        x if x < low else low,
        x if x > high else high,
    )


def merged(a: Fit, b: Fit) -> Fit:
    n = a[0] + b[0]
    if n == 0:  # two empty windows
        return a
    dx, dy, weight = b[1] - a[1], b[2] - a[2], a[0] * b[0] / n
    return (
        n,
        a[1] + dx * b[0] / n,
        a[2] + dy * b[0] / n,
        a[3] + b[3] + dx * dx * weight,
        a[4] + b[4] + dx * dy * weight,
        a[5] + b[5] + dy * dy * weight,
        min(a[6], b[6]),
        max(a[7], b[7]),
    )


def answer(fit: Fit) -> Answer:
    n, mean_x, mean_y, xx, xy, yy, low, high = fit
    slope = xy / xx if xx else None
    return {
        "n": n,
        "mean": mean_x,
        "std": math.sqrt(xx / (n - 1)) if n > 1 else None,
        "min": low,
        "max": high,
        "slope": slope,
        "intercept": None if slope is None else mean_y - slope * mean_x,
        "r2": xy * xy / (xx * yy) if xx and yy else None,
    }
