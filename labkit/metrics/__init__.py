"""What an explanation is worth: metrics on relevance maps."""

from labkit.metrics import baselines
from labkit.metrics.faithfulness import Curve, blurred, deletion, insertion, perturbed, tied
from labkit.metrics.gaze import (
    auc_judd,
    between_subjects,
    cc,
    density_map,
    inside,
    kl,
    note,
    nss,
    resized,
    shuffled_auc,
    sim,
    wooding_sigma,
)
from labkit.metrics.localization import energy_inside, pointing_game
from labkit.metrics.reliability import Interval, mean_interval, split_half
from labkit.metrics.sanity import Randomised, randomisation

__all__ = [
    "Curve",
    "Interval",
    "Randomised",
    "auc_judd",
    "baselines",
    "between_subjects",
    "blurred",
    "cc",
    "deletion",
    "density_map",
    "energy_inside",
    "inside",
    "insertion",
    "kl",
    "mean_interval",
    "note",
    "nss",
    "perturbed",
    "pointing_game",
    "randomisation",
    "resized",
    "shuffled_auc",
    "sim",
    "split_half",
    "tied",
    "wooding_sigma",
]
