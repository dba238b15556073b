"""Lab 7: the generator of learned perturbations, its loss, and the map that is read from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Mistake, Question, normal, numbers

# The range of the image


def rescaled(maps: Tensor, image: Tensor) -> Tensor:
    """The maps, brought to the image's range; where they are constant, to its smallest value."""
    least, span = image.min(), image.max() - image.min()
    contrast = maps.max() - maps.min()
    return least + span * (maps - maps.min()) / torch.where(contrast > 0, contrast, 1)


def _rescaled_by_channel(maps: Tensor, image: Tensor) -> Tensor:
    parts = zip(maps, image, strict=True)
    return torch.stack([rescaled(channel, of_image) for channel, of_image in parts])


def _shares(maps: Tensor) -> Tensor:
    return (maps - maps.min()) / (maps.max() - maps.min()).clamp(min=1e-30)


def _rescaled_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {"maps": numbers([[[0, 1]], [[4, 2]]]), "image": numbers([[[-1, 1]], [[0, 0.5]]])}
    some = {"maps": np.abs(normal(rng, 3, 4, 5)), "image": normal(rng, 3, 4, 5)}
    constant = np.full((3, 4, 5), 0.5, dtype=np.float32)
    return [
        Question("by hand: two channels of two pixels", by_hand),
        Question("random maps", some),
        Question("constant maps", {"maps": constant, "image": some["image"]}, part="constant maps"),
    ]


RESCALED = on_card(
    "lab7.rescaled",
    separate={"constant maps": 1},
    solve=rescaled,
    questions=_rescaled_questions,
    mistakes=(
        Mistake(
            "0 / 0",
            "Constant maps have no range: 0 / 0 is NaN. They are to become the image's smallest "
            "value.",
            lambda maps, image: (
                image.min()
                + (image.max() - image.min()) * (maps - maps.min()) / (maps.max() - maps.min())
            ),
        ),
        Mistake(
            "each channel by itself",
            "You scale each channel to its own range. Colours change that way: one range is meant, "
            "from the smallest to the largest value of all channels.",
            _rescaled_by_channel,
            points=1,
        ),
        Mistake(
            "from 0 to 1",
            "Your values run from 0 to 1; wanted is the range of the image.",
            lambda maps, image: _shares(maps),
            points=1,
        ),
        Mistake(
            "the smallest value left out",
            "The width of the range is right, but it begins at 0 instead of the image's smallest "
            "value.",
            lambda maps, image: (image.max() - image.min()) * _shares(maps),
            points=1,
        ),
        Mistake(
            "from the smallest value by the largest",
            "The range's width is the largest value *minus the smallest*.",
            lambda maps, image: image.min() + image.max() * _shares(maps),
            points=1,
        ),
        Mistake(
            "cut off instead of scaled",
            "You cut values off at the ends of the range; they are to be scaled.",
            lambda maps, image: maps.clamp(image.min(), image.max()),
        ),
        Mistake(
            "mean and deviation instead of the range",
            "You match mean and deviation. Wanted are the smallest and the largest value.",
            lambda maps, image: (
                image.mean() + image.std() * (maps - maps.mean()) / maps.std().clamp(min=1e-30)
            ),
        ),
    ),
)

# The generator


def generator(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    n_blocks: int,
    n_layers: int,
    *,
    enters: Callable[[Tensor], Tensor] = lambda image: image - image.min(),
    inner: Callable[[Tensor], Tensor] = lambda maps: maps,
    end: Callable[[Tensor], Tensor] = torch.relu,
    leaves: Callable[[Tensor, Tensor], Tensor] = rescaled,
    padding: int | None = None,
) -> Tensor:
    """One convolution again and again, a ReLU per block; the settings make mistakes."""
    maps = enters(image)[None]
    padding = weight.shape[-1] // 2 if padding is None else padding
    for _ in range(n_blocks):
        for _ in range(n_layers):
            maps = inner(F.conv2d(maps, weight, bias, padding=padding))
        maps = end(maps)
    return leaves(maps[0], image)


def _generator_questions(rng: np.random.Generator) -> list[Question]:
    # The image enters as (0, 1, 2); doubled and less 3 it is (-3, -1, 1), and (0, 0, 1) behind the
    # ReLU.
    by_hand = {
        "image": numbers([[[-1, 0, 1]]]),
        "weight": numbers([[[[2]]]]),
        "bias": numbers([-3]),
        "n_blocks": 1,
        "n_layers": 1,
    }
    some = {
        "image": normal(rng, 3, 9, 10),
        "weight": _lively_weight(rng),
        "bias": numbers([0.3, 0.1, 0.2]),
    }
    return [
        Question("by hand: a kernel of one pixel", by_hand),
        Question("one block of three layers", some | {"n_blocks": 1, "n_layers": 3}),
        Question("three blocks of one layer", some | {"n_blocks": 3, "n_layers": 1}),
        Question("two blocks of two layers", some | {"n_blocks": 2, "n_layers": 2}),
    ]


def _lively_weight(rng: np.random.Generator) -> np.ndarray:
    """The identity and some noise, so that the maps keep positive and negative values."""
    identity = np.zeros((3, 3, 3, 3), dtype=np.float32)
    identity[range(3), range(3), 1, 1] = 1
    return identity + 0.35 * normal(rng, 3, 3, 3, 3)


GENERATOR = on_card(
    "lab7.generator",
    solve=generator,
    questions=_generator_questions,
    mistakes=(
        Mistake(
            "ReLU after every convolution",
            "A block has one ReLU, at its end; between its convolutions values may be negative.",
            partial(generator, inner=torch.relu),
            points=2,
        ),
        Mistake(
            "no ReLU",
            "Each block ends with a ReLU.",
            partial(generator, end=lambda maps: maps),
            points=1,
        ),
        Mistake(
            "the image not shifted to zero",
            "The image enters with its negative values, which a ReLU would throw away. Bring its "
            "smallest value to 0 first.",
            partial(generator, enters=lambda image: image),
            points=2,
        ),
        Mistake(
            "range not restored",
            "The output has left the image's range: the last step is missing.",
            partial(generator, leaves=lambda maps, image: maps),
            points=2,
        ),
        Mistake(
            "each channel back to its own range",
            "You scale each channel to its own range; one range is meant for all of them.",
            partial(generator, leaves=_rescaled_by_channel),
            points=2,
        ),
        Mistake(
            "no padding",
            "The maps shrink with each convolution. How much padding keeps their size?",
            partial(generator, padding=0, leaves=rescaled),
            points=1,
        ),
        Mistake(
            "blocks and layers swapped",
            "The ReLU comes `n_blocks` times, and `n_layers` convolutions go before each.",
            lambda image, weight, bias, n_blocks, n_layers: generator(
                image, weight, bias, n_layers, n_blocks
            ),
            points=2,
        ),
        Mistake(
            "one block only",
            "Your result does not depend on `n_blocks`.",
            lambda image, weight, bias, n_blocks, n_layers: generator(
                image, weight, bias, 1, n_layers
            ),
            points=1,
        ),
        Mistake(
            "the bias left out",
            "Your result does not depend on the bias.",
            lambda image, weight, bias, n_blocks, n_layers: generator(
                image, weight, 0 * bias, n_blocks, n_layers
            ),
            points=2,
        ),
    ),
)

# The loss


def loss(
    logits: Tensor,
    image: Tensor,
    perturbed: Tensor,
    target: int,
    l1: float,
    *,
    score: Callable[[Tensor, int], Tensor] = lambda logits, target: logits.softmax(dim=0)[target],
    distance: Callable[[Tensor], Tensor] = lambda change: change.abs().mean(),
    sign: float = 1.0,
) -> Tensor:
    """f(x') + l1 mean |x - x'|; the settings exist to make mistakes with."""
    return score(logits, target) + sign * l1 * distance(image - perturbed)


def _loss_questions(rng: np.random.Generator) -> list[Question]:
    # softmax (0, 0) = 1/2; mean |change| = (1 + 3 + 0 + 0) / 4 = 1
    by_hand = {
        "logits": numbers([0, 0]),
        "image": numbers([[[1, 2, 3, 4]]]),
        "perturbed": numbers([[[2, -1, 3, 4]]]),
        "target": 0,
        "l1": 0.25,
    }
    some = {
        "logits": normal(rng, 4),
        "image": normal(rng, 3, 4, 5),
        "perturbed": normal(rng, 3, 4, 5),
    }
    return [
        Question("by hand: one half plus a quarter", by_hand),
        Question("nothing changed", by_hand | {"perturbed": by_hand["image"]}, hidden=True),
        Question("random images, class 1", some | {"target": 1, "l1": 0.05}),
        Question("random images, class 3", some | {"target": 3, "l1": 2.0}),
    ]


LOSS = on_card(
    "lab7.loss",
    solve=loss,
    questions=_loss_questions,
    mistakes=(
        Mistake(
            "logit for softmax",
            "You minimise the logit, which has no lower end. The probability has one.",
            partial(loss, score=lambda logits, target: logits[target]),
            points=1,
        ),
        Mistake(
            "logarithm of the probability",
            "Take the probability itself, not its logarithm.",
            partial(loss, score=lambda logits, target: logits.log_softmax(dim=0)[target]),
            points=1,
        ),
        Mistake(
            "cross-entropy",
            "Minimising the cross-entropy makes the class *likelier*. Here it is to disappear.",
            partial(loss, score=lambda logits, target: -logits.log_softmax(dim=0)[target]),
        ),
        Mistake(
            "sum instead of mean",
            "Your cost of change grows with the size of the picture.",
            partial(loss, distance=lambda change: change.abs().sum()),
            points=1,
        ),
        Mistake(
            "squared change",
            "You square the change. Absolute values are what lets many pixels stay as they are.",
            partial(loss, distance=lambda change: change.square().mean()),
            points=1,
        ),
        Mistake(
            "change without its size",
            "Plus and minus cancel in your mean: a strong change may cost nothing.",
            partial(loss, distance=lambda change: change.mean()),
            points=1,
        ),
        Mistake(
            "change without its size, the other way round",
            "Plus and minus cancel in your mean: a strong change may cost nothing.",
            partial(loss, distance=lambda change: -change.mean()),
            points=1,
        ),
        Mistake(
            "change rewarded",
            "The second term has the wrong sign: the further from the image, the lower your loss.",
            partial(loss, sign=-1.0),
            points=1,
        ),
        Mistake(
            "change free of charge",
            "Your loss does not depend on the change, or not on `l1`.",
            partial(loss, sign=0.0),
        ),
        Mistake(
            "l1 left out",
            "Your loss does not depend on `l1`.",
            lambda logits, image, perturbed, target, l1: loss(
                logits, image, perturbed, target, 1.0
            ),
            points=1,
        ),
    ),
)

# Total variation


def total_variation(change: Tensor) -> Tensor:
    """The steps from each value to its neighbours below and to the right, per value."""
    return (change.diff(dim=-2).abs().sum() + change.diff(dim=-1).abs().sum()) / change.numel()


def _variation_questions(rng: np.random.Generator) -> list[Question]:
    # Down: |2 - 0| + |5 - 1|, to the right: |1 - 0| + |5 - 2|
    return [
        Question("by hand: 2 x 2", {"change": numbers([[[0, 1], [2, 5]]])}),
        Question("a constant change", {"change": numbers(np.ones((2, 3, 3)))}),
        Question("a random change", {"change": normal(rng, 3, 4, 6)}),
    ]


TOTAL_VARIATION = on_card(
    "lab7.total_variation",
    solve=total_variation,
    questions=_variation_questions,
    mistakes=(
        Mistake(
            "sum instead of a number per value",
            "Your number grows with the size of the picture.",
            lambda change: total_variation(change) * change.numel(),
            points=1,
        ),
        Mistake(
            "mean of the steps in each direction",
            "There are fewer steps than values. Divide both sums by the number of *values*.",
            lambda change: change.diff(dim=-2).abs().mean() + change.diff(dim=-1).abs().mean(),
            points=1,
        ),
        Mistake(
            "one direction only",
            "Steps go down *and* to the right.",
            lambda change: change.diff(dim=-1).abs().sum() / change.numel(),
            points=1,
        ),
        Mistake(
            "one direction only, downwards",
            "Steps go down *and* to the right.",
            lambda change: change.diff(dim=-2).abs().sum() / change.numel(),
            points=1,
        ),
        Mistake(
            "steps between the channels",
            "You also count steps from one channel to the next: those are colours, not places.",
            lambda change: (
                total_variation(change) + change.diff(dim=0).abs().sum() / change.numel()
            ),
            points=1,
        ),
        Mistake(
            "squared steps",
            "Take the size of each step, not its square.",
            lambda change: (
                (change.diff(dim=-2).square().sum() + change.diff(dim=-1).square().sum())
                / change.numel()
            ),
            points=1,
        ),
        Mistake(
            "steps without their size",
            "Steps up and down cancel in your sum.",
            lambda change: (change.diff(dim=-2).sum() + change.diff(dim=-1).sum()) / change.numel(),
        ),
    ),
)

# The map


def perturbation_map(
    image: Tensor,
    perturbed: Tensor,
    power: float,
    border: int,
    *,
    gathered: Callable[[Tensor, Tensor, float], Tensor] = lambda image, perturbed, power: (
        (image.mean(dim=0) - perturbed.mean(dim=0)).abs() ** power
    ),
    kept: float = 0.0,
) -> Tensor:
    """The channels' mean change to a power, without the border; settings to make mistakes with."""
    changed = gathered(image, perturbed, power)
    height, width = changed.shape
    inner = slice(border, height - border), slice(border, width - border)
    relevance = kept * changed
    relevance[inner] = changed[inner]
    return relevance


def _map_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {
        "image": numbers([[[1, 2, 3]], [[1, 2, 3]]]),
        "perturbed": numbers([[[0, 4, 3]], [[-1, 2, 5]]]),
        "power": 2.0,
    }
    some = {"image": normal(rng, 3, 6, 8), "perturbed": normal(rng, 3, 6, 8)}
    return [
        Question("by hand: three pixels, no border", by_hand | {"border": 0}),
        Question("random images, a border of one pixel", some | {"power": 2.0, "border": 1}),
        Question("random images, a border of two pixels", some | {"power": 6.0, "border": 2}),
    ]


PERTURBATION_MAP = on_card(
    "lab7.perturbation_map",
    solve=perturbation_map,
    questions=_map_questions,
    mistakes=(
        Mistake(
            "the border left on",
            "Along the border the padding of the convolutions shows; it is to be set to 0.",
            partial(perturbation_map, kept=1.0),
            points=1,
        ),
        Mistake(
            "the border cut off",
            "Your map has become smaller. It is to keep the picture's size, with zeros along the "
            "border.",
            lambda image, perturbed, power, border: perturbation_map(
                image, perturbed, power, border
            )[border : image.shape[1] - border, border : image.shape[2] - border],
            points=1,
        ),
        Mistake(
            "channels averaged after the power",
            "You raise each channel to the power and average then. First the mean over the "
            "channels, before and after; then their difference.",
            partial(
                perturbation_map,
                gathered=lambda image, perturbed, power: ((image - perturbed).abs() ** power).mean(
                    dim=0
                ),
            ),
            points=1,
        ),
        Mistake(
            "channels averaged after the absolute value",
            "You take the size of the change in each channel and average then. First the mean over "
            "the channels, before and after; then their difference.",
            partial(
                perturbation_map,
                gathered=lambda image, perturbed, power: (
                    (image - perturbed).abs().mean(dim=0) ** power
                ),
            ),
            points=1,
        ),
        Mistake(
            "channels summed",
            "You add up the channels; their mean is meant.",
            partial(
                perturbation_map,
                gathered=lambda image, perturbed, power: (
                    (image - perturbed).sum(dim=0).abs() ** power
                ),
            ),
            points=1,
        ),
        Mistake(
            "no power",
            "Your map does not depend on `power`.",
            partial(
                perturbation_map,
                gathered=lambda image, perturbed, power: (
                    image.mean(dim=0) - perturbed.mean(dim=0)
                ).abs(),
            ),
            points=1,
        ),
    ),
)

# The centre


def centre_of_mass(
    relevance: Tensor,
    *,
    mass: Callable[[Tensor], Tensor] = lambda relevance: relevance.clamp(min=0),
) -> tuple[float, float]:
    """(x, y) of the centre; negative values count as 0."""
    values = mass(relevance.double())
    rows, columns = (torch.arange(n, dtype=values.dtype) for n in values.shape)
    total = values.sum()
    x, y = (values.sum(dim=0) @ columns) / total, (values.sum(dim=1) @ rows) / total
    return x.item(), y.item()


def _centre_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = numbers([[0, 0, 3], [0, 0, 1]])
    two = numbers([[1, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 0]])
    return [
        Question("by hand: one column", {"relevance": by_hand}),
        Question(
            "by hand: two pixels, and a negative one", {"relevance": two - numbers([0, 5, 0, 0])}
        ),
        Question("a random map", {"relevance": np.abs(normal(rng, 5, 7))}),
        Question("a random map of both signs", {"relevance": normal(rng, 5, 7) + numbers(0.5)}),
    ]


CENTRE_OF_MASS = on_card(
    "lab7.centre_of_mass",
    solve=centre_of_mass,
    questions=_centre_questions,
    mistakes=(
        Mistake(
            "swapped axes",
            "x counts columns and comes first; you give the row first.",
            lambda relevance: centre_of_mass(relevance)[::-1],
            points=1,
        ),
        Mistake(
            "the largest value instead of the centre",
            "You give the place of the largest value. In a centre all values count.",
            lambda relevance: (
                int(relevance.argmax()) % relevance.shape[1],
                int(relevance.argmax()) // relevance.shape[1],
            ),
        ),
        Mistake(
            "negative values counted",
            "Negative values pull the centre away, even out of the picture. They count as 0.",
            partial(centre_of_mass, mass=lambda relevance: relevance),
            points=1,
        ),
        Mistake(
            "size of negative values counted",
            "A strongly negative place attracts your centre. Negative values count as 0.",
            partial(centre_of_mass, mass=torch.abs),
            points=1,
        ),
        Mistake(
            "every positive pixel alike",
            "Each positive pixel counts the same in your mean; its value says how much it is to "
            "count.",
            partial(centre_of_mass, mass=lambda relevance: (relevance > 0).double()),
            points=1,
        ),
        Mistake(
            "not divided by the whole mass",
            "Twice the map must have the same centre: divide by the sum of the values.",
            lambda relevance: tuple(
                part * relevance.clamp(min=0).sum().item() for part in centre_of_mass(relevance)
            ),
            points=1,
        ),
        Mistake(
            "counted from 1",
            "The first column is number 0.",
            lambda relevance: tuple(part + 1 for part in centre_of_mass(relevance)),
            points=1,
        ),
        Mistake(
            "from the pixels' corners",
            "Here a pixel's place is its index, without the half that leads from corner to centre.",
            lambda relevance: tuple(part + 0.5 for part in centre_of_mass(relevance)),
            points=1,
        ),
    ),
)

EXERCISES = (
    LOSS,
    TOTAL_VARIATION,
    RESCALED,
    PERTURBATION_MAP,
    CENTRE_OF_MASS,
    GENERATOR,
    on_card("lab7.q1"),
)
