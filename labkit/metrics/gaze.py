"""Does the map look where people look? Density maps of fixations, and relevance against gaze.

Where things are: a fixation is (x, y) in pixels of the picture, x to the right and y down, measured
from the picture's upper left *corner*. A pixel is an area: column 0 reaches from x = 0 to x = 1,
with its centre at x = 0.5. A fixation lies in pixel (row, column) = (floor y, floor x).

What maps out of the ordinary get, so that no score is ever a silent NaN:

| relevance | cc | sim | kl | nss | AUCs |
|---|---|---|---|---|---|
| constant, also all 0 | 0 | as uniform | as uniform | 0 | 0.5 |
| with negative values | as any | lifted to start at 0 | lifted to start at 0 | as any | as any |
| with NaN or infinity | error | error | error | error | error |

A constant density is an error: there is nothing to compare with. `note` says it in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from labkit.checks import check_choice
from labkit.correlation import pearson

SIM_DEFINITIONS = ("mit", "pysaliency")
ROUNDING = 16 * float(np.finfo(np.float32).eps)  # of a few sums in single precision
EPS = 2.2204e-16  # of the MIT saliency benchmark's KL divergence


def wooding_sigma(
    height: float, *, distance: float = 900.0, screen_height: float = 325.0, angle: float = 2.0
) -> float:
    """The width of the Gaussian that one fixation leaves behind: what the eye sees sharply.

    Wooding, "Fixation maps: quantifying eye-movement traces", ETRA 2002,
    https://doi.org/10.1145/507072.507078. sigma = R * D * tan(alpha), where R is the number of
    pixels per millimetre; a picture shown at screen height has R = height / screen_height. The
    defaults are those of MexCulture142.

    Args:
        height: of the picture, in its own pixels.
        distance: D, from the eye to the screen, in millimetres.
        screen_height: in millimetres.
        angle: alpha, in degrees.

    Returns:
        sigma, in pixels of the picture.

    Raises:
        ValueError: one of them is not above 0.
    """
    if not all(0 < value < math.inf for value in (height, distance, screen_height, angle)):
        raise ValueError(
            "height, distance, screen_height and angle must be above 0, got "
            f"{height}, {distance}, {screen_height} and {angle}"
        )
    return height * distance * math.tan(math.radians(angle)) / screen_height


def density_map(
    fixations: Tensor | np.ndarray,
    size: Sequence[int],
    *,
    sigma: float | None = None,
    durations: Tensor | np.ndarray | None = None,
) -> Tensor:
    """How much a picture was looked at, pixel by pixel: a Gaussian for each fixation, summed up.

    Wooding, "Fixation maps: quantifying eye-movement traces", ETRA 2002,
    https://doi.org/10.1145/507072.507078. The Gaussians are not cut off, so the map is nowhere 0
    except where a float32 cannot hold the value.

    Args:
        fixations: `[N, 2]`, x and y in pixels of the picture, of all subjects together.
        size: (H, W) of the picture.
        sigma: width of the Gaussians in pixels; `wooding_sigma(H)` by default.
        durations: `[N]`, a weight for each fixation, such as its seconds; all alike by default.

    Returns:
        `[H, W]`, float32, on the CPU, its maximum 1.

    Raises:
        ValueError: there are no fixations, one is outside of the picture or NaN, the durations do
            not fit or are all 0, or sigma is not above 0.
    """
    places = _checked_fixations(fixations, size)
    weights = _checked_durations(durations, len(places))
    sigma = wooding_sigma(size[0]) if sigma is None else _checked_sigma(sigma)
    # An isotropic Gaussian is a product of one in x and one in y: two small matrices make the sum.
    gx, gy = (
        torch.exp(-((_centres(length) - at[:, None]) ** 2) / (2 * sigma**2))
        for length, at in ((size[1], places[:, 0]), (size[0], places[:, 1]))
    )  # [N, W], [N, H]
    density = (weights[:, None] * gy).T @ gx  # [H, W]
    return (density / density.max()).float()


def inside(fixations: Tensor | np.ndarray, size: Sequence[int]) -> Tensor:
    """The fixations `[n, 2]` that lie in a picture of (H, W) pixels; the others are left out.

    Also takes scanpaths `[N, 3]` with durations. NaN, as trackers write while the eye blinks, is
    outside.
    """
    places = torch.as_tensor(fixations)
    return places[_is_inside(places, size)]


def _is_inside(places: Tensor, size: Sequence[int]) -> Tensor:
    """For each row of `[N, 2 or 3]`, whether its x and y lie in the picture; bool `[N]`."""
    H, W = size
    x, y = places[:, 0], places[:, 1]
    return (x >= 0) & (x < W) & (y >= 0) & (y < H)


def _centres(length: int) -> Tensor:
    """Where the pixels of a row or a column have their centres."""
    return torch.arange(length, dtype=torch.float64) + 0.5


def _checked_fixations(
    fixations: Tensor | np.ndarray, size: Sequence[int], name: str = "fixations"
) -> Tensor:
    """Fixations as float64 `[N, 2]`, all of them in the picture."""
    places = torch.as_tensor(fixations).detach().cpu().double()
    if places.ndim != 2 or places.shape[1] != 2 or len(places) == 0:
        raise ValueError(
            f"{name} must have shape [N, 2] with at least one (x, y), got {list(places.shape)}; "
            "scanpath[:, :2] drops the durations, torch.cat(...) joins subjects"
        )
    outside = torch.nonzero(~_is_inside(places, size)).flatten().tolist()
    if outside:
        i, (H, W) = outside[0], size
        x, y = places[i].tolist()
        raise ValueError(
            f"{name} must lie in the picture of {W} x {H} pixels, got {len(outside)} of "
            f"{len(places)} outside, the first at index {i}: x = {x:g}, y = {y:g}; scale them to "
            f"the picture's size, or drop them with inside({name}, size)"
        )
    return places


def _checked_durations(durations: Tensor | np.ndarray | None, n: int) -> Tensor:
    if durations is None:
        return torch.ones(n, dtype=torch.float64)
    weights = torch.as_tensor(durations).detach().cpu().double()
    if weights.shape != (n,):
        raise ValueError(
            f"durations must have shape [{n}], one a fixation, got {list(weights.shape)}"
        )
    if not (torch.isfinite(weights) & (weights >= 0)).all() or weights.sum() == 0:
        raise ValueError(
            "durations must be at least 0 and not all 0, got "
            f"{weights.min().item():g} to {weights.max().item():g}; leave them out to count "
            "every fixation alike"
        )
    return weights


def _checked_sigma(sigma: float) -> float:
    if not 0.1 <= sigma < math.inf:  # a narrower one vanishes between the centres of two pixels
        raise ValueError(
            f"sigma must be at least 0.1 pixel, got {sigma}; wooding_sigma(height) gives the usual"
        )
    return float(sigma)


# Relevance against gaze


def cc(relevance: Tensor, density: Tensor) -> float:
    """Pearson's correlation of the pixels of two maps; scale and offset do not matter.

    Args:
        relevance: `[H, W]`, any finite numbers.
        density: `[H, W]`, not constant, such as a `density_map`.

    Returns:
        From -1 to 1; 0 for a constant relevance map, which says nothing.

    Raises:
        ValueError: the shapes differ, a number is not finite, or the density is constant.
    """
    r = pearson(*_checked_pair(relevance, density))
    return 0.0 if math.isnan(r) else r


def sim(relevance: Tensor, density: Tensor, *, definition: str = "mit") -> float:
    """How much two maps share once each adds up to 1: the sum of the smaller values.

    Two definitions are in use and give different numbers. "mit", of the MIT saliency benchmark,
    first stretches both maps from 0 to 1; it is the default, because published tables hold it.
    "pysaliency", of the library of that name, only lifts a map that has negative values. The first:
    Bylinskii, Judd, Oliva, Torralba and Durand, "What Do Different Evaluation Metrics Tell Us About
    Saliency Models?", PAMI 2019, https://arxiv.org/abs/1604.03605.

    Args:
        relevance: `[H, W]`, any finite numbers.
        density: `[H, W]`, not constant.
        definition: "mit" or "pysaliency".

    Returns:
        From 0 to 1, 1 for equal maps; a constant relevance map counts as uniform.

    Raises:
        ValueError: as for `cc`, or the definition is unknown.
    """
    S, Q = _checked_pair(relevance, density)
    check_choice("definition", definition, SIM_DEFINITIONS)
    if definition == "mit":
        S, Q = S - S.min(), Q - Q.min()
    return torch.minimum(_distribution(S), _distribution(Q)).sum().item()


def kl(relevance: Tensor, density: Tensor) -> float:
    """How badly the relevance predicts the gaze: the Kullback-Leibler divergence, in nats.

    As in the MIT saliency benchmark, with its eps of 2.2204e-16 against empty places; see `sim` for
    the paper. Differs from it: a map with negative values is lifted to start at 0.

    Args:
        relevance: `[H, W]`, any finite numbers.
        density: `[H, W]`, not constant.

    Returns:
        0 for equal maps, larger for worse ones; a constant relevance map counts as uniform.

    Raises:
        ValueError: as for `cc`.
    """
    S, Q = (_distribution(values) for values in _checked_pair(relevance, density))
    return (Q * torch.log(EPS + Q / (S + EPS))).sum().item()


def nss(relevance: Tensor, fixations: Tensor | np.ndarray) -> float:
    """The mean of the standardised map at the fixations.

    Peters, Iyer, Itti and Koch, "Components of Bottom-Up Gaze Allocation in Natural Images", Vision
    Research 45(18), 2005. The standard deviation is the population's, as in pysaliency.

    Args:
        relevance: `[H, W]`, any finite numbers.
        fixations: `[N, 2]`, x and y in pixels of the map.

    Returns:
        In standard deviations of the map, 0 for chance and for a constant map.

    Raises:
        ValueError: a number is not finite, there are no fixations, or one is outside of the map.
    """
    S = _standardised(_checked_map(relevance, "relevance"))
    return S[_pixels(fixations, S.shape)].mean().item()


def auc_judd(relevance: Tensor, fixations: Tensor | np.ndarray, *, seed: int = 0) -> float:
    """How well the map tells fixated pixels from the others: area under a ROC curve.

    Judd, Ehinger, Durand and Torralba, "Learning to Predict Where Humans Look", ICCV 2009,
    https://doi.org/10.1109/ICCV.2009.5459462, as in the MIT saliency benchmark: the thresholds are
    the values at the fixated pixels. Differs from it: equal values stand in random order, instead
    of a jitter of 1e-7 on all values, which also reorders those that lie closer than that: nearly
    all in a map with a few high peaks. It is not the ROC AUC of all pixels.

    Args:
        relevance: `[H, W]`, any finite numbers; only their order counts.
        fixations: `[N, 2]`, x and y in pixels of the map; a pixel counts once.
        seed: of the order of equal values.

    Returns:
        From 0 to 1; 0.5 for chance and for a constant map.

    Raises:
        ValueError: as for `nss`, or every pixel was fixated.
    """
    S = _checked_map(relevance, "relevance")
    fixated = torch.zeros(S.shape, dtype=torch.bool)
    fixated[_pixels(fixations, S.shape)] = True
    n, N = int(fixated.sum()), S.numel()
    if n == N:
        raise ValueError(f"fixations must leave some pixels out, got one on each of {N}")
    if _is_constant(S):
        return 0.5
    above = N - _ranks(S, seed)[fixated].sort(descending=True).values  # pixels at or above each
    found = torch.arange(1, n + 1, dtype=torch.float64)
    hits = torch.cat([torch.zeros(1), found / n, torch.ones(1)])
    false_alarms = torch.cat([torch.zeros(1), (above - found) / (N - n), torch.ones(1)])
    return torch.trapezoid(hits, false_alarms).item()


def shuffled_auc(
    relevance: Tensor, fixations: Tensor | np.ndarray, others: Tensor | np.ndarray
) -> float:
    """How well the map tells where this picture was looked at from where other pictures were.

    A map of the centre gets 0.5, for other pictures are looked at there too. Zhang, Tong, Marks,
    Shan and Cottrell, "SUN: A Bayesian Framework for Saliency Using Natural Statistics", Journal of
    Vision 8(7), 2008, https://doi.org/10.1167/8.7.32. Differs from the MIT benchmark's code: the
    exact area against all other fixations, not the mean over random draws of them at a few
    thresholds.

    Args:
        relevance: `[H, W]`, any finite numbers; only their order counts.
        fixations: `[N, 2]`, x and y of this picture.
        others: `[M, 2]`, of other pictures, brought to this one's size.

    Returns:
        From 0 to 1; 0.5 for chance and for a constant map.

    Raises:
        ValueError: as for `nss`.
    """
    S = _checked_map(relevance, "relevance")
    seen, elsewhere = S[_pixels(fixations, S.shape)], S[_pixels(others, S.shape, "others")]
    ranks = torch.from_numpy(rankdata(torch.cat([seen, elsewhere])))
    N, M = len(seen), len(elsewhere)
    return ((ranks[:N].sum() - N * (N + 1) / 2) / (N * M)).item()  # Mann and Whitney's U


def between_subjects(
    scanpaths: Sequence[Tensor],
    size: Sequence[int],
    metric: Callable[[Tensor, Tensor], float],
    *,
    sigma: float | None = None,
    n_splits: int = 10,
    seed: int = 0,
) -> float:
    """What one half of the subjects scores as a prediction of the other half: the upper bound.

    Args:
        scanpaths: for each subject `[n, 2]` or `[n, 3]`, x and y (and duration) in pixels; what
            lies outside of the picture is left out.
        size: (H, W) of the picture.
        metric: of relevance and density, such as `cc`.
        sigma: as for `density_map`.
        n_splits: random halves to average over.
        seed: which halves.

    Returns:
        The mean of the metric. Half of the subjects predict less well than all of them would, so
        the true bound is somewhat higher.

    Raises:
        ValueError: there are fewer than two subjects, n_splits is below 1, or as for `density_map`.
    """
    if len(scanpaths) < 2:
        raise ValueError(f"scanpaths must be of at least two subjects, got {len(scanpaths)}")
    if n_splits < 1:
        raise ValueError(f"n_splits must be at least 1, got {n_splits}; 10 is usual")
    generator, half, scores = torch.Generator().manual_seed(seed), len(scanpaths) // 2, []
    for _ in range(n_splits):
        order = torch.randperm(len(scanpaths), generator=generator).tolist()
        halves = (
            torch.cat([torch.as_tensor(scanpaths[i])[:, :2] for i in part])
            for part in (order[:half], order[half:])
        )
        scores.append(metric(*(density_map(inside(h, size), size, sigma=sigma) for h in halves)))
    return sum(scores) / len(scores)


def note(relevance: Tensor, *, scale: float = 0.0) -> str:
    """What is out of the ordinary in a map, for the reader of its scores; often nothing, "".

    Args:
        relevance: `[H, W]`.
        scale: of the numbers that the map was computed from, such as 1 for differences of
            probabilities; by default the map's own largest value. A map whose values differ by no
            more than the rounding of such numbers is called constant.

    Raises:
        ValueError: a number is not finite.
    """
    S = _checked_map(relevance, "relevance")
    span = (S.max() - S.min()).item()
    if span <= ROUNDING * max(scale, S.abs().max().item()):
        return f"constant map of {S.mean().item():.3g}{', but for rounding' if span else ''}"
    negative = 100 * (S < 0).double().mean().item()
    return f"{negative:.3g}% of the map is negative" if negative > 0 else ""


def resized(values: Tensor, size: Sequence[int]) -> Tensor:
    """A map `[h, w]` brought to (H, W), bicubic as in the MIT benchmark, within its own range."""
    larger = F.interpolate(
        values[None, None].float(), size, mode="bicubic", antialias=True, align_corners=False
    )[0, 0]
    return larger.clamp(values.min().item(), values.max().item())


def _is_constant(values: Tensor) -> bool:
    return bool(values.max() == values.min())


def _standardised(values: Tensor) -> Tensor:
    """Values of mean 0 and standard deviation 1, the population's; all 0 for a constant map."""
    if _is_constant(values):  # its standard deviation is rarely 0 to the last digit
        return torch.zeros_like(values)
    # From 0 to 1 first, so that the squares of tiny values do not vanish.
    stretched = (values - values.min()) / (values.max() - values.min())
    return (stretched - stretched.mean()) / stretched.std(correction=0)


def _ranks(values: Tensor, seed: int) -> Tensor:
    """How many values stand below each in their order, ties in random order; shaped alike."""
    values, shape = values.flatten(), values.shape
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    order = order[values[order].argsort(stable=True)]
    return order.argsort().view(shape)


def _distribution(values: Tensor) -> Tensor:
    """Values that are at least 0 and add up to 1; uniform where there is nothing to scale."""
    lifted = values - values.min().clamp(max=0)
    total = lifted.sum()
    return lifted / total if total > 0 else torch.full_like(values, 1 / values.numel())


def _pixels(
    fixations: Tensor | np.ndarray, size: Sequence[int], name: str = "fixations"
) -> tuple[Tensor, Tensor]:
    """Rows and columns of the fixated pixels, to index a map with."""
    x, y = _checked_fixations(fixations, size, name).long().T
    return y, x


def _checked_map(values: Tensor, name: str) -> Tensor:
    """A map as float64 on the CPU."""
    if not isinstance(values, Tensor) or values.ndim != 2:
        got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be a tensor of shape [H, W], got {got}")
    broken = int((~torch.isfinite(values)).sum())
    if broken:
        raise ValueError(
            f"{name} must be finite, got {broken} of {values.numel()} values NaN or infinite; "
            f"look at {name}.isfinite() to find where"
        )
    return values.detach().cpu().double()


def _checked_pair(relevance: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps flattened."""
    S, Q = _checked_map(relevance, "relevance"), _checked_map(density, "density")
    if S.shape != Q.shape:
        raise ValueError(
            f"relevance and density must have one shape, got {list(S.shape)} and {list(Q.shape)}; "
            "bring the density map to the image with model.prepare_map(density), or a map to a "
            "size with labkit.metrics.resized(map, size)"
        )
    if _is_constant(Q):
        raise ValueError(
            f"density must not be constant, got {Q.max().item():g} everywhere; there is nothing to "
            "compare with: leave this picture out"
        )
    return S.flatten(), Q.flatten()
