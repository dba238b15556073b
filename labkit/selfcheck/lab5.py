"""Lab 5: RISE from masks and answers, and the regression inside LIME."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Mistake, Question, normal, numbers
from labkit.selfcheck.networks import Network, drawn

# A mask


def smooth_mask(
    grid: Tensor,
    down: int,
    right: int,
    height: int,
    width: int,
    *,
    mode: str = "bilinear",
    corners: bool | None = False,
    rounded: Callable[[int, int], int] = lambda length, cells: -(-length // cells),
    more: int = 1,
) -> Tensor:
    """A grid enlarged and cut out at a shift; the settings exist to make mistakes with."""
    cells = len(grid)
    size = [(cells + more) * rounded(length, cells) for length in (height, width)]
    large = F.interpolate(grid[None, None], size=size, mode=mode, align_corners=corners)[0, 0]
    return large[down : down + height, right : right + width]


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
    mistakes=(
        Mistake(
            "nearest neighbour",
            "The mask has hard edges, which a network takes for evidence. `interpolate` takes the "
            "nearest cell unless you name a mode.",
            partial(smooth_mask, mode="nearest", corners=None),
            points=1,
        ),
        Mistake(
            "align_corners=True",
            "The outermost cells were put on the corners. A cell is an area: its value belongs to "
            "the area's centre.",
            partial(smooth_mask, corners=True),
            points=1,
        ),
        Mistake(
            "no shift",
            "The mask begins at the corner of the enlarged grid, whatever the shift says.",
            lambda grid, down, right, height, width: smooth_mask(grid, 0, 0, height, width),
            points=1,
        ),
        Mistake(
            "shift swapped",
            "Tensors have rows before columns: which of the shifts belongs to the rows?",
            lambda grid, down, right, height, width: smooth_mask(grid, right, down, height, width),
            points=1,
        ),
        Mistake(
            "enlarged to the image's own size",
            "You enlarge to the image's size: nothing is left to shift the mask in. How much "
            "larger must the grid become?",
            lambda grid, down, right, height, width: F.interpolate(
                grid[None, None], size=(height, width), mode="bilinear", align_corners=False
            )[0, 0],
        ),
        Mistake(
            "cells rounded down",
            "Where the cells do not divide the side, a cell is rounded *up*.",
            partial(smooth_mask, rounded=lambda length, cells: length // cells),
            points=1,
        ),
        Mistake(
            "hidden for shown",
            "Your mask is 1 where the grid hides. 1 means shown.",
            lambda grid, **others: 1 - smooth_mask(grid, **others),
            points=1,
        ),
    ),
)

# The answers


def masked_scores(
    model: nn.Module,
    image: Tensor,
    target: int,
    masks: Tensor,
    *,
    score: Callable[[Tensor, int], Tensor] = lambda logits, target: logits.softmax(dim=1)[
        :, target
    ],
    hide: Callable[[Tensor, Tensor], Tensor] = lambda image, masks: image * masks[:, None],
) -> Tensor:
    """f: the class probability of each masked image."""
    with torch.no_grad():
        return score(model(hide(image, masks)), target)


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
    mistakes=(
        Mistake(
            "logit for softmax",
            "You give logits. RISE asks for the class probability.",
            partial(masked_scores, score=lambda logits, target: logits[:, target]),
            points=1,
        ),
        Mistake(
            "softmax over the images",
            "Your probabilities add up to 1 over the masks. They are to do so over the classes.",
            partial(masked_scores, score=lambda logits, target: logits.softmax(dim=0)[:, target]),
            points=1,
        ),
        Mistake(
            "the winning class instead of the target",
            "You give the probability of the likeliest class, whatever `target` says.",
            partial(masked_scores, score=lambda logits, target: logits.softmax(dim=1).amax(dim=1)),
            points=1,
        ),
        Mistake(
            "hidden for shown",
            "Where the mask is 1 the image is to be *shown*.",
            partial(masked_scores, hide=lambda image, masks: image * (1 - masks[:, None])),
            points=1,
        ),
        Mistake(
            "masks with hard edges",
            "You round the masks. Where a mask is 0.5 the image is half as strong.",
            partial(
                masked_scores, hide=lambda image, masks: image * (masks >= 0.5).float()[:, None]
            ),
            points=1,
        ),
        Mistake(
            "one channel masked",
            "You mask one channel; the others are shown in full.",
            partial(
                masked_scores,
                hide=lambda image, masks: torch.cat(
                    [image[:1] * masks[:, None], image[1:].expand(len(masks), -1, -1, -1)], dim=1
                ),
            ),
            points=1,
        ),
    ),
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


OF_A_MAP = (
    (
        "scores without the masks",
        "Every pixel has the same value: where do the masks come in?",
        lambda f, masks: f.mean() * torch.ones_like(masks[0]),
    ),
    (
        "masks without the scores",
        "Your map does not depend on the answers.",
        lambda f, masks: masks.mean(dim=0),
    ),
    (
        "divided by the sum of the scores",
        "You divide by the sum of the answers. A model that is sure must get a higher map.",
        lambda f, masks: _weighted(f, masks) / f.sum(),
    ),
    (
        "hidden for shown",
        "You weigh with what was hidden.",
        lambda f, masks: _weighted(f, 1 - masks) / len(f),
    ),
)

RISE_OFFICIAL = on_card(
    "lab5.rise_official",
    solve=rise_official,
    questions=_official_questions,
    mistakes=(
        Mistake(
            "sum instead of mean",
            "Your map grows with the number of masks.",
            lambda f, masks, p: _weighted(f, masks),
        ),
        Mistake(
            "p left out",
            "Your result does not depend on `p`. A pixel is shown N p times on average, not N.",
            lambda f, masks, p: _weighted(f, masks) / len(f),
            points=1,
        ),
        Mistake(
            "multiplied by p",
            "The rarer a pixel is shown, the more each showing must count: divide by p.",
            lambda f, masks, p: _weighted(f, masks) / len(f) * p,
            points=1,
        ),
        Mistake(
            "N left out",
            "Your map grows with the number of masks.",
            lambda f, masks, p: _weighted(f, masks) / p,
            points=1,
        ),
        Mistake(
            "divided by coverage",
            "You divide by how often each pixel *was* shown; that is the next exercise.",
            lambda f, masks, p: _weighted(f, masks) / masks.sum(dim=0),
            points=1,
        ),
        *(
            Mistake(name, hint, lambda f, masks, p, wrong=wrong: wrong(f, masks) / p)
            for name, hint, wrong in OF_A_MAP
        ),
    ),
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
    mistakes=(
        Mistake(
            "0 / 0",
            "A pixel that no mask shows gets 0 / 0, which is NaN. It is to get 0.",
            lambda f, masks: _weighted(f, masks) / masks.sum(dim=0),
        ),
        Mistake(
            "the denominator raised for all",
            "Adding a number to the denominator changes every value. Treat only those pixels that "
            "no mask shows.",
            lambda f, masks: _weighted(f, masks) / (masks.sum(dim=0) + 1),
            points=1,
        ),
        Mistake(
            "divided by the number of masks",
            "You divide by N. A pixel that was shown rarely then looks unimportant.",
            lambda f, masks: _weighted(f, masks) / len(f),
            points=1,
        ),
        Mistake(
            "divided by the average coverage",
            "You divide all pixels by the same number. Each has a coverage of its own.",
            lambda f, masks: _weighted(f, masks) / masks.sum(dim=0).mean(),
            points=1,
        ),
        Mistake(
            "divided by how many masks show it at all",
            "You count a mask of 0.1 as a full showing. Coverage adds up the masks' own values.",
            lambda f, masks: _weighted(f, masks) / (masks > 0).sum(dim=0).clamp(min=1),
            points=1,
        ),
        *(Mistake(name, hint, wrong) for name, hint, wrong in OF_A_MAP),
    ),
)

# LIME: hide superpixels


def hide_superpixels(
    image: Tensor,
    segments: Tensor,
    z: Tensor,
    *,
    colour: Callable[[Tensor, Tensor], Tensor] = lambda image, part: image[:, part].mean(
        dim=1, keepdim=True
    ),
    hidden: float = 0.0,
) -> Tensor:
    """The image with the mean colour of its own in each hidden superpixel."""
    changed = image.clone()
    for superpixel, shown in enumerate(z.tolist()):
        part = segments == superpixel
        if shown == hidden:
            changed[:, part] = colour(image, part)
    return changed


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
    mistakes=(
        Mistake(
            "hidden for shown",
            "A superpixel with z = 1 is to be shown.",
            partial(hide_superpixels, hidden=1.0),
            points=1,
        ),
        Mistake(
            "zero instead of the mean colour",
            "You fill hidden superpixels with 0. Here each gets its own mean colour, so that no "
            "new edge arises where the colour is even.",
            partial(hide_superpixels, colour=lambda image, part: torch.zeros(len(image), 1)),
            points=1,
        ),
        Mistake(
            "the mean of the whole image",
            "Every hidden superpixel gets the same colour. Take the mean over its own pixels.",
            partial(
                hide_superpixels,
                colour=lambda image, part: image.mean(dim=(1, 2))[:, None],
            ),
            points=1,
        ),
        Mistake(
            "one mean for all channels",
            "You average over the channels too: the superpixel turns grey. A colour has a value "
            "for each channel.",
            partial(hide_superpixels, colour=lambda image, part: image[:, part].mean()),
            points=1,
        ),
        Mistake(
            "median instead of mean",
            "You take the middle value of each channel; wanted is the mean.",
            partial(
                hide_superpixels,
                colour=lambda image, part: image[:, part].median(dim=1, keepdim=True).values,
            ),
            points=1,
        ),
    ),
)

# LIME: the kernel


def _distance(Z: Tensor) -> Tensor:
    return 1 - torch.cosine_similarity(Z, torch.ones_like(Z), dim=1)


def kernel_weights(Z: Tensor, width: float) -> Tensor:
    """The root of exp(-D^2 / width^2), D the cosine distance to the row of ones."""
    return (-(_distance(Z) ** 2) / width**2).exp().sqrt()


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
    mistakes=(
        Mistake(
            "no root",
            "The formula has a root around the exponential.",
            lambda Z, width: (-(_distance(Z) ** 2) / width**2).exp(),
            points=1,
        ),
        Mistake(
            "similarity for distance",
            "The weight is to be 1 for the row of ones, at distance 0. You use the cosine itself.",
            lambda Z, width: (-((1 - _distance(Z)) ** 2) / width**2).exp().sqrt(),
            points=1,
        ),
        Mistake(
            "distance not squared",
            "The distance is squared in the exponent, and so is the width.",
            lambda Z, width: (-_distance(Z) / width**2).exp().sqrt(),
            points=1,
        ),
        Mistake(
            "width not squared",
            "The width is squared in the exponent, as the distance is.",
            lambda Z, width: (-(_distance(Z) ** 2) / width).exp().sqrt(),
            points=1,
        ),
        Mistake(
            "Euclidean distance",
            "You use the length of the difference. Here the distance is one minus the cosine of "
            "the angle.",
            lambda Z, width: (-((Z - 1) ** 2).sum(dim=1) / width**2).exp().sqrt(),
            points=1,
        ),
        Mistake(
            "share of hidden superpixels",
            "You use the share of superpixels that are hidden. Here the distance is one minus the "
            "cosine of the angle.",
            lambda Z, width: (-((1 - Z.mean(dim=1)) ** 2) / width**2).exp().sqrt(),
            points=1,
        ),
        Mistake(
            "weights that add up to 1",
            "You divide by the sum of the weights. The row of ones is to have the weight 1.",
            lambda Z, width: kernel_weights(Z, width) / kernel_weights(Z, width).sum(),
            points=1,
        ),
        Mistake(
            "the further, the more",
            "The sign in the exponent is wrong: distant samples get the larger weights.",
            lambda Z, width: (_distance(Z) ** 2 / width**2).exp().sqrt(),
            points=1,
        ),
    ),
)

# LIME: the ridge regression


def weighted_ridge(
    Z: Tensor,
    f: Tensor,
    pi: Tensor,
    alpha: float,
    *,
    centre: Callable[[Tensor, Tensor], Tensor] = lambda values, pi: (
        torch.einsum("n,n...->...", pi, values) / pi.sum()
    ),
    weigh: Callable[[Tensor], Tensor] = lambda pi: pi,
    penalty: Callable[[float, Tensor], float] = lambda alpha, pi: alpha,
) -> Tensor:
    """The coefficients w of a weighted ridge regression whose intercept is free."""
    Z, f, pi = Z.double(), f.double(), weigh(pi.double())
    X, y = Z - centre(Z, pi), f - centre(f, pi)
    G = X.T @ (pi[:, None] * X) + penalty(alpha, pi) * torch.eye(Z.shape[1], dtype=Z.dtype)
    return torch.linalg.solve(G, X.T @ (pi * y)).float()


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
    mistakes=(
        Mistake(
            "no weights",
            "Your result does not depend on `pi`: distant samples count as much as near ones.",
            partial(weighted_ridge, weigh=torch.ones_like),
            points=2,
        ),
        Mistake(
            "squared weights",
            "The weights go in twice. Multiply rows by the *root* of the weight, if you weigh both "
            "Z and f before you square.",
            partial(weighted_ridge, weigh=torch.square),
            points=3,
        ),
        Mistake(
            "roots of the weights",
            "The weights go in only as roots.",
            partial(weighted_ridge, weigh=torch.sqrt),
            points=3,
        ),
        Mistake(
            "no intercept",
            "Your line must pass through zero: with everything hidden it predicts 0, which no "
            "model does. Take the (weighted) means away first, or add a column of ones.",
            partial(weighted_ridge, centre=lambda values, pi: torch.zeros_like(values[0])),
            points=2,
        ),
        Mistake(
            "plain means for weighted ones",
            "You take away the plain means. With weights, the line passes through the *weighted* "
            "means.",
            partial(weighted_ridge, centre=lambda values, pi: values.mean(dim=0)),
            points=3,
        ),
        Mistake(
            "the penalty left out",
            "Your result does not depend on `alpha`.",
            partial(weighted_ridge, penalty=lambda alpha, pi: 0.0),
            points=2,
        ),
        Mistake(
            "the penalty times the number of samples",
            "Your penalty grows with the number of samples, as if the errors were averaged. They "
            "are summed.",
            partial(weighted_ridge, penalty=lambda alpha, pi: alpha * len(pi)),
            points=3,
        ),
        Mistake(
            "the penalty squared",
            "alpha multiplies the squared coefficients as it is.",
            partial(weighted_ridge, penalty=lambda alpha, pi: alpha**2),
            points=3,
        ),
        Mistake(
            "the intercept penalised",
            "You shrink the intercept too. What a model says when everything is hidden is no "
            "reason for a penalty.",
            lambda Z, f, pi, alpha: weighted_ridge_with_ones(Z, f, pi, alpha),
            points=3,
        ),
    ),
)


def weighted_ridge_with_ones(Z: Tensor, f: Tensor, pi: Tensor, alpha: float) -> Tensor:
    """The mistake of a column of ones whose coefficient is penalised like the others."""
    ones = torch.cat([Z, torch.ones(len(Z), 1)], dim=1).double()
    G = ones.T @ (pi[:, None].double() * ones) + alpha * torch.eye(ones.shape[1]).double()
    return torch.linalg.solve(G, ones.T @ (pi * f).double())[:-1].float()


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
