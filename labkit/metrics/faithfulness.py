"""Deletion and insertion: how fast the score falls, or rises, in the order that a map gives.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
BMVC 2018, https://arxiv.org/abs/1806.07421. The defaults are those of the authors' code: softmax
probability, a row's worth of pixels at a time, mean grey for what is deleted, and the blurred
image for what is not yet inserted. Only the order of a map's values counts, not how far apart
they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.checks import check_choice, check_count
from labkit.engine.batches import BlackBox, class_probabilities
from labkit.engine.contract import as_image, check_image, settings_of
from labkit.engine.questions import replaced, scores_replaced

SCORES = ("probability", "logit")
AREAS = ("official", "fraction")
TIES = ("last-first", "stable", "random")
WORDS = ("blur", "mean")  # baselines by name


class Curve(NamedTuple):
    """What became of the score while S steps replaced the pixels, most relevant first.

    fraction: `[S + 1]`, the share of the pixels replaced, from 0 to 1.
    score: `[S + 1]`, the score with so many replaced.
    auc: the area under the curve.
    ties: the share of the pixels whose relevance some other pixel has too: their places in the
        order are not the map's doing. 1 for a constant map.
    """

    fraction: Tensor
    score: Tensor
    auc: float
    ties: float


def _curve(
    model: BlackBox,
    image: Tensor,
    relevance: Tensor,
    target: int | None,
    start: Tensor,
    finish: Tensor,
    *,
    step: int | None = None,
    n_steps: int | None = None,
    score: str = "probability",
    auc: str = "official",
    ties: str = "last-first",
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Curve:
    """The curve from one image `[C, H, W]` to another; the settings are explained in `deletion`."""
    check_choice("auc", auc, AREAS)
    _check_score(score, model)
    order = _order(relevance, image, ties, seed)
    counts = _counts(relevance, step, n_steps)
    if target is None:
        target = int(class_probabilities(model, image[None]).argmax())
    scores = scores_replaced(
        model,
        start,
        finish,
        order,
        counts,
        target,
        score=score,
        batch_size=batch_size,
        progress=progress,
    )
    fraction = counts.double() / len(order)
    return Curve(fraction.float(), scores, _area(scores, fraction, auc), tied(relevance))


@settings_of(_curve)
def deletion(
    model: BlackBox,
    image: Tensor,
    relevance: Tensor,
    target: int | None = None,
    *,
    baseline: float | Tensor | str = 0.0,
    **settings: Any,
) -> Curve:
    """Take the pixels away, most relevant first: the faster the score falls, the better the map.

    Args:
        model: a network, or any function from images `[N, C, H, W]` to probabilities `[N, K]`.
        image: `[C, H, W]`, normalised as the model expects.
        relevance: `[H, W]`, any finite numbers.
        target: the class index; by default the likeliest class of the image itself.
        baseline: what takes their place: a number, a colour `[C, 1, 1]` or an image `[C, H, W]` in
            normalised units, "mean" for the image's own mean colour, or "blur" for `blurred`. 0 is
            the mean colour of the training pictures.
        step: how many pixels go at a time, with all their channels; W, as many as a row has, by
            default. The last step takes what is left.
        n_steps: instead of step, at most so many steps of equal size.
        score: "probability", or "logit", for which the model must be a network.
        auc: "official" gives every step the same width, also a shorter last one; "fraction" the
            share of the pixels that it replaced.
        ties: which of equally relevant pixels goes first: "last-first" the last, reading row by
            row; "stable" the first; "random" any. The authors reverse an ascending sort, which
            gives "last-first" if the sort is stable; theirs does not promise to be.
        seed: which random order of ties; the same at every batch size and on every device.
        batch_size: images per pass; chosen from the device by default. Memory depends on it, and
            not on the number of steps.
        progress: show a bar.

    Returns:
        A `Curve`, from the score of the image to that of the baseline; its tensors are float32, on
        the CPU.

    Raises:
        ValueError: relevance is not `[H, W]` or not finite, the baseline does not fit, a choice is
            unknown, step and n_steps are both given or below 1, or the model returns NaN or the
            wrong number of rows.
        TypeError: one of them is of the wrong kind.
        IndexError: target is not one of the classes.
    """
    check_image(image)
    end = _baseline(baseline, image)
    return _curve(model, image, relevance, target, image, end, **settings)


@settings_of(_curve)
def insertion(
    model: BlackBox,
    image: Tensor,
    relevance: Tensor,
    target: int | None = None,
    *,
    baseline: float | Tensor | str = "blur",
    **settings: Any,
) -> Curve:
    """Put the pixels in, most relevant first: the faster the score rises, the better the map.

    The arguments and errors are those of `deletion`; only the default baseline differs. On grey the
    first pixels would have sharp edges all around, which are evidence of their own.

    Returns:
        A `Curve`, from the score of the baseline to that of the image.
    """
    check_image(image)
    start = _baseline(baseline, image)
    return _curve(model, image, relevance, target, start, image, **settings)


def perturbed(
    image: Tensor,
    relevance: Tensor,
    fraction: float,
    *,
    baseline: float | Tensor | str = 0.0,
    ties: str = "last-first",
    seed: int = 0,
) -> Tensor:
    """The image with its most relevant pixels replaced: what stands behind a point of a curve.

    For deletion call it as it stands; for insertion, `perturbed(blurred(image), relevance,
    fraction, baseline=image)`.

    Args:
        image: `[C, H, W]`.
        relevance: `[H, W]`, any finite numbers.
        fraction: the share of the pixels to replace, from 0 to 1, such as `curve.fraction[s]`.
        baseline: what takes their place; see `deletion`.
        ties: which of equally relevant pixels goes first; see `deletion`.
        seed: which random order of ties.

    Returns:
        `[C, H, W]`, detached.

    Raises:
        ValueError: fraction is not between 0 and 1, or as for `deletion`.
        TypeError: as for `deletion`.
    """
    check_image(image)
    if not 0 <= fraction <= 1:
        raise ValueError(
            f"fraction must be a share of the pixels, from 0 to 1, got {fraction}; "
            "divide a number of pixels by relevance.numel()"
        )
    order = _order(relevance, image, ties, seed)
    count = torch.tensor([round(float(fraction) * len(order))])
    (images,) = replaced(image, _baseline(baseline, image), order, count, 1)
    return images[0]


def blurred(image: Tensor) -> Tensor:
    """The image blurred as the authors of RISE blur it for insertion.

    Their kernel is what SciPy's Gaussian filter, of 5 pixels, makes of a single point in an 11 x 11
    field: the filter mirrors at the field's border, which folds the tails back inside, so that the
    kernel is almost flat. Beyond the image's border it meets zeros. Common mistake: torchvision's
    `gaussian_blur(image, 11, 5)` cuts the tails off and mirrors the image.

    Args:
        image: `[C, H, W]`.

    Returns:
        `[C, H, W]`, detached.
    """
    check_image(image)
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = torch.from_numpy(gaussian_filter(point, 5)).to(image)
    return F.conv2d(image.detach()[:, None], kernel[None, None], padding=5)[:, 0]


def _order(relevance: Tensor, image: Tensor, ties: str, seed: int) -> Tensor:
    """The pixels `[H W]`, counted row by row, in the order of descending relevance."""
    _check_relevance(relevance, image)
    check_choice("ties", ties, TIES)
    values = relevance.detach().flatten().to(image.device)
    pixels = torch.arange(len(values))
    if ties == "last-first":
        pixels = pixels.flip(0)
    elif ties == "random":
        pixels = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    pixels = pixels.to(image.device)
    # A stable sort leaves equal values in the order in which it finds them.
    return pixels[values[pixels].argsort(descending=True, stable=True)]


def _counts(relevance: Tensor, step: int | None, n_steps: int | None) -> Tensor:
    """How many pixels are replaced `[S + 1]`, before the first step and after each."""
    if step is not None and n_steps is not None:
        raise ValueError(f"give step or n_steps, got both, {step} and {n_steps}; leave one out")
    if n_steps is not None:
        check_count("n_steps", n_steps)
        step = -(-relevance.numel() // n_steps)
    elif step is None:
        step = relevance.shape[1]
    check_count("step", step)
    return torch.arange(0, relevance.numel() + step, step).clamp(max=relevance.numel())


def _area(score: Tensor, fraction: Tensor, auc: str) -> float:
    """The area under the curve by trapezoids, each of width 1 / S or of its own."""
    score = score.double()
    if auc == "fraction":
        return torch.trapezoid(score, fraction).item()
    return ((score[1:] + score[:-1]) / 2).mean().item()


def tied(relevance: Tensor) -> float:
    """The share of the pixels of a map whose value some other pixel has too."""
    values = relevance.detach().double().cpu().numpy()  # sorts far faster than torch
    sizes = np.unique(values, return_counts=True)[1]
    return sizes[sizes > 1].sum().item() / sizes.sum().item()


def _baseline(baseline: float | Tensor | str, image: Tensor) -> Tensor:
    """The baseline as an image `[C, H, W]`."""
    if isinstance(baseline, str):
        check_choice("baseline", baseline, WORDS)
        baseline = blurred(image) if baseline == "blur" else image.mean(dim=(1, 2), keepdim=True)
    return as_image(baseline, image, words=WORDS)


def _check_relevance(relevance: Tensor, image: Tensor) -> None:
    if not isinstance(relevance, Tensor):
        raise TypeError(
            f"relevance must be a torch.Tensor of shape [H, W], got {type(relevance).__name__}; "
            "torch.from_numpy(array) makes one"
        )
    if relevance.shape != image.shape[1:]:
        raise ValueError(
            f"relevance must have the image's height and width, {list(image.shape[1:])}, got "
            f"{list(relevance.shape)}; sum over the channels, or enlarge a small map with "
            "labkit.engine.hooks.upsample"
        )
    if not torch.isfinite(relevance).all():
        raise ValueError(
            "relevance must be finite, got NaN or infinity; look at relevance.isfinite() to find "
            "where"
        )


def _check_score(score: str, model: BlackBox) -> None:
    check_choice("score", score, SCORES)
    if score == "logit" and not isinstance(model, nn.Module):
        raise ValueError(
            "score must be 'probability' for a function, which has no logits to ask for, got "
            "'logit'; pass the network itself"
        )
