"""Lab 5: RISE from masks and answers, and the regression inside LIME."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Question, normal, numbers
from labkit.selfcheck.networks import Network, drawn

# A mask


def _bilinear(grid: Tensor, size: list[int], align_corners: bool = False) -> Tensor:
    kind = {"mode": "bilinear", "align_corners": align_corners}
    return F.interpolate(grid[None, None], size=size, **kind)[0, 0]


def _size(grid: Tensor, height: int, width: int) -> list[int]:
    """One cell more than the image needs, cells rounded up."""
    return [(len(grid) + 1) * -(-length // len(grid)) for length in (height, width)]


def smooth_mask(grid: Tensor, down: int, right: int, height: int, width: int) -> Tensor:
    """A grid, enlarged bilinearly and cut out at a shift."""
    large = _bilinear(grid, _size(grid, height, width))
    return large[down : down + height, right : right + width]


def _cut_from(large: Callable[[Tensor, int, int], Tensor]) -> Callable[..., Tensor]:
    """A wrong `smooth_mask` that is cut out of another large mask."""
    return lambda grid, down, right, height, width: large(grid, height, width)[
        down : down + height, right : right + width
    ]


def _rounded_down(grid: Tensor, height: int, width: int) -> Tensor:
    size = [(len(grid) + 1) * (length // len(grid)) for length in (height, width)]
    return _bilinear(grid, size)


def _coins(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return numbers(rng.integers(0, 2, size=shape))


def _mask_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {"grid": numbers([[0, 1], [1, 1]]), "height": 2, "width": 2}
    grid = _coins(rng, 3, 3)
    grid[0] = [1, 0, 1]  # neither constant nor symmetric
    return [
        Question("by hand: a cell is a pixel", by_hand | {"down": 0, "right": 0}),
        Question("a random grid", {"grid": grid, "down": 1, "right": 2, "height": 9, "width": 12}),
        Question(
            "a size that the cells do not divide",
            {"grid": grid, "down": 2, "right": 0, "height": 8, "width": 10},
        ),
    ]


SMOOTH_MASK = on_card(
    "lab5.smooth_mask",
    solve=smooth_mask,
    questions=_mask_questions,
    slips={"down and right swapped": 1, "one minus the value": 1},
    mistakes={
        1: {
            "nearest neighbour": (
                "The mask has hard edges, which a network takes for evidence. `interpolate` takes "
                "the nearest cell unless you name a mode.",
                _cut_from(
                    lambda grid, h, w: F.interpolate(grid[None, None], _size(grid, h, w))[0, 0]
                ),
            ),
            "align_corners=True": (
                "You put the outermost cells on the corners. The value of a cell belongs to the "
                "centre of its area.",
                _cut_from(lambda grid, h, w: _bilinear(grid, _size(grid, h, w), True)),
            ),
            "no shift": (
                "The mask begins at the corner of the enlarged grid, whatever the shift says.",
                lambda **inputs: smooth_mask(**inputs | {"down": 0, "right": 0}),
            ),
            "cells rounded down": (
                "Round the size of a cell *up* when the cells do not divide the side.",
                _cut_from(_rounded_down),
            ),
        },
        0: {
            "enlarged to the image's own size": (
                "You enlarge to the image's size, so the mask cannot be shifted. How much larger "
                "must the grid become?",
                lambda grid, down, right, height, width: _bilinear(grid, [height, width]),
            ),
        },
    },
)

# The answers


def masked_scores(model: nn.Module, image: Tensor, target: int, masks: Tensor) -> Tensor:
    """f: the class probability of each masked image."""
    return model(image * masks[:, None]).softmax(dim=1)[:, target]


def _one_channel(model: nn.Module, image: Tensor, target: int, masks: Tensor) -> Tensor:
    others = image[1:].expand(len(masks), -1, -1, -1)
    return model(torch.cat([image[:1] * masks[:, None], others], dim=1)).softmax(dim=1)[:, target]


def _scores_questions(rng: np.random.Generator) -> list[Question]:
    # Logits (x_1 + x_2, 0): the probability of class 0 is the logistic function of what is shown.
    linear = Network(
        "linear", {"out.weight": numbers([[1, 1], [0, 0]]), "out.bias": numbers([0, 0])}
    )
    by_hand = {
        "model": linear,
        "image": numbers([[[2, -1]]]),
        "masks": numbers([[[1, 1]], [[0, 0]], [[1, 0]], [[0.5, 1]]]),
    }
    some = {
        "model": drawn(rng, "mlp", hidden=(16, 3 * 4 * 5), out=(3, 16)),
        "image": normal(rng, 3, 4, 5),
        "masks": numbers(rng.random((6, 4, 5))),
    }
    return [
        Question("by hand: four masks over two pixels", by_hand | {"target": 0}),
        *(Question(f"a random network, class {k}", some | {"target": k}) for k in range(3)),
    ]


MASKED_SCORES = on_card(
    "lab5.masked_scores",
    solve=masked_scores,
    questions=_scores_questions,
    slips={"the winning class instead of the target": 1, "one minus masks": 1},
    mistakes={
        1: {
            "logit for softmax": (
                "You return logits. RISE uses the class probability.",
                lambda model, image, target, masks: model(image * masks[:, None])[:, target],
            ),
            "softmax over the images": (
                "Your probabilities add up to 1 over the masks, not over the classes.",
                lambda model, image, target, masks: model(image * masks[:, None]).softmax(dim=0)[
                    :, target
                ],
            ),
            "masks with hard edges": (
                "You round the masks. Where a mask is 0.5 the image is half as strong.",
                lambda masks, **others: masked_scores(masks=(masks >= 0.5).float(), **others),
            ),
            "one channel masked": ("You mask only one channel. Mask all of them.", _one_channel),
        },
    },
)

# Two ways to divide


def _map_inputs(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"f": numbers(rng.random(7)), "masks": numbers(rng.random((7, 3, 4)))}


TWO_MASKS = {"f": numbers([0.8, 0.2]), "masks": numbers([[[1, 1, 0]], [[0, 1, 0.5]]])}


def _weighted(f: Tensor, masks: Tensor) -> Tensor:
    return torch.einsum("n,nhw->hw", f, masks)


def rise_official(f: Tensor, masks: Tensor, p: float) -> Tensor:
    """S = sum_i f_i M_i / (N p)."""
    return _weighted(f, masks) / (len(f) * p)


def _official_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question("by hand: two masks", TWO_MASKS | {"p": 0.5}),
        Question("random masks", _map_inputs(rng) | {"p": 0.3}),
        Question(
            "one mask",
            {"f": numbers([0.7]), "masks": numbers(rng.random((1, 3, 4))), "p": 0.5},
            hidden=True,
        ),
    ]


SURE = "You divide by the sum of the scores. A confident model must get a higher map."

RISE_OFFICIAL = on_card(
    "lab5.rise_official",
    solve=rise_official,
    questions=_official_questions,
    slips={"p left out": 1, "sum instead of mean": 1, "one over p": 1},
    mistakes={
        1: {
            "divided by coverage": (
                "You divide by how often each pixel *was* shown. That is the next exercise.",
                lambda f, masks, p: _weighted(f, masks) / masks.sum(dim=0),
            ),
        },
        0: {
            "neither N nor p": (
                "Your map grows with the number of masks. Divide by N p.",
                lambda f, masks, p: _weighted(f, masks),
            ),
            "divided by the sum of the scores": (
                SURE,
                lambda f, masks, p: _weighted(f, masks) / f.sum() / p,
            ),
        },
    },
)


def rise_coverage(f: Tensor, masks: Tensor) -> Tensor:
    """S = sum_i f_i M_i / sum_i M_i, and 0 where no mask shows the pixel."""
    shown = masks.sum(dim=0)
    return torch.where(shown > 0, _weighted(f, masks) / shown, 0.0)


def _coverage_questions(rng: np.random.Generator) -> list[Question]:
    never = _map_inputs(rng)
    never["masks"][:, 1, 2] = 0
    return [
        Question("by hand: two masks", TWO_MASKS),
        Question("random masks", _map_inputs(rng)),
        Question("a pixel that is never shown", never, part="never shown"),
    ]


RISE_COVERAGE = on_card(
    "lab5.rise_coverage",
    separate={"never shown": 1},
    solve=rise_coverage,
    questions=_coverage_questions,
    mistakes={
        1: {
            "the denominator raised for all": (
                "Adding a number to the denominator changes every value. Treat only those pixels "
                "that no mask shows.",
                lambda f, masks: _weighted(f, masks) / (masks.sum(dim=0) + 1),
            ),
            "divided by the number of masks": (
                "You divide by N. A pixel that was shown rarely then looks unimportant.",
                lambda f, masks: _weighted(f, masks) / len(f),
            ),
            "divided by the average coverage": (
                "You divide all pixels by the same number. Each has a coverage of its own.",
                lambda f, masks: _weighted(f, masks) / masks.sum(dim=0).mean(),
            ),
            "divided by how many masks show it at all": (
                "You count a mask of 0.1 as a full showing. Coverage adds up the masks' own "
                "values.",
                lambda f, masks: _weighted(f, masks) / (masks > 0).sum(dim=0).clamp(min=1),
            ),
        },
        0: {
            "0 / 0": (
                "A pixel that no mask shows gets 0 / 0, which is NaN. Return 0 there.",
                lambda f, masks: _weighted(f, masks) / masks.sum(dim=0),
            ),
            "masks without the scores": (
                "Your map does not depend on the scores `f`.",
                lambda f, masks: masks.mean(dim=0),
            ),
            "divided by the sum of the scores": (
                SURE,
                lambda f, masks: _weighted(f, masks) / f.sum(),
            ),
            "hidden for shown": (
                "You weight the hidden pixels. Weight the shown pixels.",
                lambda f, masks: _weighted(f, 1 - masks) / len(f),
            ),
        },
    },
)

# LIME: hide superpixels


def hide_superpixels(image: Tensor, segments: Tensor, z: Tensor) -> Tensor:
    """The image with its own mean colour in each hidden superpixel."""
    changed = image.clone()
    for superpixel in (z == 0).nonzero():
        part = segments == superpixel
        changed[:, part] = image[:, part].mean(dim=1, keepdim=True)
    return changed


def _hidden_in(colour: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A wrong `hide_superpixels` with another colour."""

    def wrong(image: Tensor, segments: Tensor, z: Tensor) -> Tensor:
        changed = image.clone()
        for superpixel in (z == 0).nonzero():
            part = segments == superpixel
            changed[:, part] = colour(image, part)
        return changed

    return wrong


def _hide_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {
        "image": numbers([[[1, 3, 5]], [[0, 2, -8]]]),
        "segments": np.array([[0, 0, 1]]),
        "z": numbers([0, 1]),
    }
    segments = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [3, 2, 2, 3]])
    some = {"image": normal(rng, 3, 3, 4), "segments": segments}
    return [
        Question("by hand: the first of two is hidden", by_hand),
        Question("by hand: the second of two is hidden", by_hand | {"z": numbers([1, 0])}),
        Question("two of four are hidden", some | {"z": numbers([0, 1, 0, 1])}),
        Question("nothing is hidden", some | {"z": numbers([1, 1, 1, 1])}),
    ]


HIDE_SUPERPIXELS = on_card(
    "lab5.hide_superpixels",
    solve=hide_superpixels,
    questions=_hide_questions,
    slips={"one minus z": 1},
    mistakes={
        1: {
            "zero instead of the mean colour": (
                "You fill hidden superpixels with 0. Fill each with its own mean colour.",
                _hidden_in(lambda image, part: torch.zeros(len(image), 1)),
            ),
            "the mean of the whole image": (
                "Every hidden superpixel gets the same colour. Take the mean over its own pixels.",
                _hidden_in(lambda image, part: image.mean(dim=(1, 2))[:, None]),
            ),
            "one mean for all channels": (
                "You also average over the channels, so the superpixel turns grey. A colour has "
                "one value per channel.",
                _hidden_in(lambda image, part: image[:, part].mean()),
            ),
            "median instead of mean": (
                "You take the median of each channel. Take the mean.",
                _hidden_in(lambda image, part: image[:, part].median(dim=1, keepdim=True).values),
            ),
        },
    },
)

# LIME: the kernel


def _distance(Z: Tensor) -> Tensor:
    return 1 - torch.cosine_similarity(Z, torch.ones_like(Z), dim=1)


def _kernel(D: Tensor, width: float) -> Tensor:
    return (-(D**2) / width**2).exp().sqrt()


def kernel_weights(Z: Tensor, width: float) -> Tensor:
    """The root of exp(-D^2 / width^2), D the cosine distance to the row of ones."""
    return _kernel(_distance(Z), width)


def _some_samples(rng: np.random.Generator, n: int, S: int) -> np.ndarray:
    """Coin tosses, the first row all ones, and no row all zeros: that has no direction."""
    Z = _coins(rng, n, S)
    Z[0] = 1
    Z[np.arange(1, n), rng.integers(0, S, size=n - 1)] = 1
    return Z


def _kernel_questions(rng: np.random.Generator) -> list[Question]:
    # A row with one of four shown has length 1, and the cosine 1/2 to the row of ones.
    by_hand = numbers([[1, 1, 1, 1], [1, 0, 0, 0]])
    return [
        Question("by hand: all of four and one of four", {"Z": by_hand, "width": 0.5}),
        Question("random samples, a narrow kernel", {"Z": _some_samples(rng, 9, 6), "width": 0.25}),
        Question("random samples, a wide kernel", {"Z": _some_samples(rng, 9, 6), "width": 0.75}),
    ]


KERNEL_WEIGHTS = on_card(
    "lab5.kernel_weights",
    solve=kernel_weights,
    questions=_kernel_questions,
    slips={"squared": 1, "divided by the sum": 1, "root of width": 1},
    mistakes={
        1: {
            "similarity for distance": (
                "You use the cosine itself. The row of ones has distance 0 and weight 1.",
                lambda Z, width: _kernel(1 - _distance(Z), width),
            ),
            "distance not squared": (
                "Square the distance in the exponent, as you square the width.",
                lambda Z, width: _kernel(_distance(Z).clamp(min=0).sqrt(), width),
            ),
            "Euclidean distance": (
                "You use the length of the difference. Here the distance is one minus the cosine "
                "of the angle.",
                lambda Z, width: _kernel((Z - 1).norm(dim=1), width),
            ),
            "share of hidden superpixels": (
                "You use the share of superpixels that are hidden. Here the distance is one minus "
                "the cosine of the angle.",
                lambda Z, width: _kernel(1 - Z.mean(dim=1), width),
            ),
            "the further, the more": (
                "The sign in the exponent is wrong: distant samples get larger weights than near "
                "ones.",
                lambda Z, width: 1 / _kernel(_distance(Z), width),
            ),
        },
    },
)

# LIME: the ridge regression


def _ridge(X: Tensor, y: Tensor, pi: Tensor, alpha: float) -> Tensor:
    """A line through zero: the w with the least sum_i pi_i (y_i - w x_i)^2 + alpha |w|^2."""
    X, y, pi = X.double(), y.double(), pi.double()
    G = X.T @ (pi[:, None] * X) + alpha * torch.eye(X.shape[1]).double()
    return torch.linalg.solve(G, X.T @ (pi * y)).float()


def weighted_ridge(Z: Tensor, f: Tensor, pi: Tensor, alpha: float) -> Tensor:
    """The coefficients w of a weighted ridge regression whose intercept is free."""
    Z, f, pi = Z.double(), f.double(), pi.double()
    return _ridge(Z - pi @ Z / pi.sum(), f - pi @ f / pi.sum(), pi, alpha)


def _ridge_questions(rng: np.random.Generator) -> list[Question]:
    # Without noise, weights or penalty the regression finds the line itself: f = 0.5 + z_1 - 2 z_2.
    Z = numbers([[1, 1], [1, 0], [0, 1], [0, 0]])
    by_hand = {"Z": Z, "f": numbers([-0.5, 1.5, -1.5, 0.5]), "pi": numbers([1, 1, 1, 1])}
    # One superpixel: w = S_zf / (S_zz + alpha) = 0.5 / (1 + 1) in deviations from the means.
    one = {"Z": numbers([[1], [1], [0], [0]]), "f": numbers([1, 0.5, 0.5, 0])}
    some = {
        "Z": _some_samples(rng, 30, 4),
        "f": numbers(rng.random(30)),
        "pi": numbers(rng.uniform(0.2, 1, size=30)),
    }
    return [
        Question("by hand: a line without noise", by_hand | {"alpha": 1e-6}),
        Question("by hand: one superpixel", one | {"pi": numbers([1, 1, 1, 1]), "alpha": 1.0}),
        Question("random samples", some | {"alpha": 1.0}),
        Question("random samples, a large penalty", some | {"alpha": 5.0}),
    ]


WEIGHTED_RIDGE = on_card(
    "lab5.weighted_ridge",
    solve=weighted_ridge,
    questions=_ridge_questions,
    slips={
        "pi left out": 2,
        "alpha left out": 2,
        "pi squared": 3,
        "root of pi": 3,
        "alpha squared": 3,
    },
    mistakes={
        3: {
            "plain means for weighted ones": (
                "You subtract the plain means. Subtract the *weighted* means.",
                lambda Z, f, pi, alpha: _ridge(Z - Z.mean(dim=0), f - f.mean(), pi, alpha),
            ),
            "the penalty times the number of samples": (
                "Your penalty grows with the number of samples. The errors are summed, not "
                "averaged.",
                lambda Z, f, pi, alpha: weighted_ridge(Z, f, pi, alpha * len(pi)),
            ),
            "the intercept penalised": (
                "You penalise the intercept too. Penalise only the coefficients of the "
                "superpixels.",
                lambda Z, f, pi, alpha: _ridge(F.pad(Z, (0, 1), value=1), f, pi, alpha)[:-1],
            ),
        },
        2: {
            "no intercept": (
                "Your line passes through zero. Subtract the (weighted) means first, or add a "
                "column of ones.",
                lambda Z, f, pi, alpha: _ridge(Z, f, pi, alpha),
            ),
        },
    },
)


EXERCISES = (
    MASKED_SCORES,
    RISE_OFFICIAL,
    RISE_COVERAGE,
    SMOOTH_MASK,
    HIDE_SUPERPIXELS,
    KERNEL_WEIGHTS,
    WEIGHTED_RIDGE,
    on_card("lab5.q1"),
)
