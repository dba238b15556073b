"""Would the same question get the same answer again? Repeats of a random method, and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap
from torch import Tensor, nn

from labkit.correlation import pearson


class Interval(NamedTuple):
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float


def split_half(
    method: Callable[..., Tensor], model: nn.Module, image: Tensor, target: int, *, seed: int = 0
) -> float:
    """How well two independent runs of a random method agree: Pearson's r of their maps.

    Args:
        method: an explainer that takes `seed=`; other settings bound by `functools.partial`.
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        seed: which pair of runs; they get the seeds 2 * seed and 2 * seed + 1.

    Returns:
        From -1 to 1; NaN where a map is constant. The mean of both runs is more reliable than
        either: by Spearman and Brown, 2 r / (1 + r).
    """
    one, other = (method(model, image, target, seed=2 * seed + half) for half in (0, 1))
    return pearson(one, other)


def mean_interval(
    values: Sequence[float] | Tensor, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The mean over pictures, and the interval in which it falls when the pictures are drawn again.

    The percentile bootstrap of Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, with
    2000 draws.

    Args:
        values: `[N]`, one a picture.
        confidence: share of the draws inside.
        seed: which draws.

    Returns:
        (mean, low, high); low and high are NaN for one picture, which says nothing of others.

    Raises:
        ValueError: there is no value, or one that is not finite.
    """
    x = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise ValueError(
            f"values must be at least one finite number, one a picture, got shape "
            f"{list(x.shape)} with {int((~np.isfinite(x)).sum())} not finite"
        )
    if len(x) == 1:
        return Interval(x[0].item(), np.nan, np.nan)
    if np.ptp(x) == 0:  # every draw is the same
        return Interval(x[0].item(), x[0].item(), x[0].item())
    drawn = bootstrap(
        (x,),
        np.mean,
        n_resamples=2000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(x.mean().item(), float(drawn.low), float(drawn.high))
