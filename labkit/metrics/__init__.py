"""What an explanation is worth: metrics on relevance maps."""

from labkit.metrics.localization import energy_inside, pointing_game
from labkit.metrics.reliability import Interval, mean_interval, split_half

__all__ = ["Interval", "energy_inside", "mean_interval", "pointing_game", "split_half"]
