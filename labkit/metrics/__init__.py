"""What an explanation is worth: metrics on relevance maps."""

from labkit.metrics.localization import energy_inside, pointing_game

__all__ = ["energy_inside", "pointing_game"]
