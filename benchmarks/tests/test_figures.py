from benchmarks.figures import Pair, Runs, Spread, ratio, speed_ratio, wall
from benchmarks.measurement import Measurement


def runs(*walls_s: float) -> Runs:
    return [Measurement(wall_s, wall_s, 1, 1) for wall_s in walls_s]


def test_marginal_rate_leaves_the_start_out() -> None:
    pair = Pair(runs(3.0), runs(6.0), 5_000_000, 20_000_000)
    assert pair.marginal_rate == 5_000_000
    assert pair.start_up_s == 2.0


def test_marginal_rate_drowned_in_noise_is_none() -> None:
    pair = Pair(runs(3.0), runs(2.9), 5, 20)
    assert pair.marginal_rate is None
    assert pair.start_up_s is None
    assert speed_ratio(pair, pair) is None


def test_round_drowned_in_noise_is_left_out_if_most_are_not() -> None:
    pair = Pair(runs(1, 1, 3), runs(5, 5, 2), 5, 20)
    assert speed_ratio(pair, pair) == Spread(1, 1, 1)
    assert speed_ratio(Pair(pair.small[1:], pair.large[1:], 5, 20), pair) is None


def test_ratios_are_taken_within_a_round() -> None:
    """The second round was twice as slow for every contender: the ratio must not move."""
    ours, theirs = Pair(runs(1, 2), runs(5, 10), 5, 20), Pair(runs(1, 2), runs(3, 6), 5, 20)
    assert speed_ratio(ours, theirs) == Spread(0.5, 0.5, 0.5)
    assert ratio(ours.large, theirs.small, wall) == Spread(5, 5, 5)


def test_samples_of_different_size_compare_by_the_row() -> None:
    fast, slow = Pair(runs(1), runs(2), 0, 1024), Pair(runs(1), runs(2), 0, 1)
    assert speed_ratio(fast, slow) == Spread(1024, 1024, 1024)
