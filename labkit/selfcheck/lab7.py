"""Lab 7: the generator of learned perturbations, its loss, and the map that is read from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Question, normal, numbers

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
    mistakes={
        1: {
            "each channel by itself": (
                "You scale each channel to its own range, which changes colours. Use one range "
                "for all channels.",
                _rescaled_by_channel,
            ),
            "from 0 to 1": (
                "Your values run from 0 to 1. Use the range of the image.",
                lambda maps, image: _shares(maps),
            ),
            "the smallest value left out": (
                "Your range has the right width, but it begins at 0. Begin at the image's "
                "smallest value.",
                lambda maps, image: (image.max() - image.min()) * _shares(maps),
            ),
            "from the smallest value by the largest": (
                "The range's width is the largest value *minus the smallest*.",
                lambda maps, image: image.min() + image.max() * _shares(maps),
            ),
        },
        0: {
            "0 / 0": (
                "Constant maps have no range, and 0 / 0 is NaN. Return the image's smallest value "
                "for them.",
                lambda maps, image: (
                    image.min()
                    + (image.max() - image.min()) * (maps - maps.min()) / (maps.max() - maps.min())
                ),
            ),
            "cut off instead of scaled": (
                "You cut values off at the ends of the range. Scale them instead.",
                lambda maps, image: maps.clamp(image.min(), image.max()),
            ),
            "mean and deviation instead of the range": (
                "You match mean and deviation. Match the smallest and the largest value.",
                lambda maps, image: (
                    image.mean() + image.std() * (maps - maps.mean()) / maps.std().clamp(min=1e-30)
                ),
            ),
        },
    },
)

# The generator


def _convolved(maps: Tensor, weight: Tensor, bias: Tensor, n_layers: int) -> Tensor:
    for _ in range(n_layers):
        maps = F.conv2d(maps[None], weight, bias, padding=weight.shape[-1] // 2)[0]
    return maps


def _blocks(maps: Tensor, weight: Tensor, bias: Tensor, n_blocks: int, n_layers: int) -> Tensor:
    for _ in range(n_blocks):
        maps = torch.relu(_convolved(maps, weight, bias, n_layers))
    return maps


def generator(image: Tensor, weight: Tensor, bias: Tensor, n_blocks: int, n_layers: int) -> Tensor:
    """The same convolution again and again, with a ReLU per block, in the image's range."""
    return rescaled(_blocks(image - image.min(), weight, bias, n_blocks, n_layers), image)


def _without_padding(
    image: Tensor, weight: Tensor, bias: Tensor, n_blocks: int, n_layers: int
) -> Tensor:
    """The part that no padding has reached."""
    lost = n_blocks * n_layers * (weight.shape[-1] // 2)
    height, width = image.shape[1:]
    maps = _blocks(image - image.min(), weight, bias, n_blocks, n_layers)
    return rescaled(maps[:, lost : height - lost, lost : width - lost], image)


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
    slips={"n_blocks and n_layers swapped": 2, "n_blocks left out": 1, "bias left out": 2},
    mistakes={
        2: {
            "ReLU after every convolution": (
                "You apply a ReLU after every convolution. A block has only one, at its end.",
                lambda image, weight, bias, n_blocks, n_layers: generator(
                    image, weight, bias, n_blocks * n_layers, 1
                ),
            ),
            "the image not shifted to zero": (
                "You do not shift the image first, so the ReLU removes its negative values. Bring "
                "its smallest value to 0.",
                lambda image, **others: rescaled(_blocks(image, **others), image),
            ),
            "range not restored": (
                "Your output is not in the image's range. The last step is missing.",
                lambda image, **others: _blocks(image - image.min(), **others),
            ),
            "each channel back to its own range": (
                "You scale each channel to its own range. Use one range for all channels.",
                lambda image, **others: _rescaled_by_channel(
                    _blocks(image - image.min(), **others), image
                ),
            ),
        },
        1: {
            "no ReLU": (
                "Each block ends with a ReLU.",
                lambda image, weight, bias, n_blocks, n_layers: rescaled(
                    _convolved(image - image.min(), weight, bias, n_blocks * n_layers), image
                ),
            ),
            "no padding": (
                "The maps shrink with each convolution. How much padding keeps their size?",
                _without_padding,
            ),
        },
    },
)

# The loss


def loss(logits: Tensor, image: Tensor, perturbed: Tensor, target: int, l1: float) -> Tensor:
    """f(x') + l1 mean |x - x'|."""
    return logits.softmax(dim=0)[target] + l1 * (image - perturbed).abs().mean()


def _scored(score: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A wrong `loss` with another score."""
    return lambda logits, image, perturbed, target, l1: (
        score(logits)[target] + l1 * (image - perturbed).abs().mean()
    )


def _costing(cost: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A wrong `loss` with another cost of change."""
    return lambda logits, image, perturbed, target, l1: (
        logits.softmax(dim=0)[target] + l1 * cost(image - perturbed)
    )


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
    slips={"l1 left out": 1, "opposite sign of l1": 1},
    mistakes={
        1: {
            "logit for softmax": (
                "You minimise the logit, which has no lower bound. Minimise the probability.",
                _scored(lambda logits: logits),
            ),
            "logarithm of the probability": (
                "Take the probability itself, not its logarithm.",
                _scored(lambda logits: logits.log_softmax(dim=0)),
            ),
            "sum instead of mean": (
                "Your cost of change grows with the size of the picture.",
                _costing(lambda change: change.abs().sum()),
            ),
            "squared change": (
                "You square the change. Use absolute values, which leave many pixels unchanged.",
                _costing(lambda change: change.square().mean()),
            ),
            "change without its size": (
                "Plus and minus cancel in your mean: a strong change may cost nothing.",
                _costing(torch.mean),
            ),
            "change without its size, the other way round": (
                "Plus and minus cancel in your mean: a strong change may cost nothing.",
                _costing(lambda change: -change.mean()),
            ),
        },
        0: {
            "cross-entropy": (
                "Minimising the cross-entropy makes the class *likelier*. Here it should become "
                "less likely.",
                _scored(lambda logits: -logits.log_softmax(dim=0)),
            ),
            "change free of charge": (
                "Your loss does not depend on the change, or not on `l1`.",
                lambda logits, target, **others: logits.softmax(dim=0)[target],
            ),
        },
    },
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
    slips={"sum instead of mean": 1},
    mistakes={
        1: {
            "mean of the steps in each direction": (
                "There are fewer steps than values. Divide both sums by the number of *values*.",
                lambda change: change.diff(dim=-2).abs().mean() + change.diff(dim=-1).abs().mean(),
            ),
            "one direction only": (
                "Steps go down *and* to the right.",
                lambda change: change.diff(dim=-1).abs().sum() / change.numel(),
            ),
            "one direction only, downwards": (
                "Steps go down *and* to the right.",
                lambda change: change.diff(dim=-2).abs().sum() / change.numel(),
            ),
            "steps between the channels": (
                "You also count steps from one channel to the next. Count only steps within a "
                "channel.",
                lambda change: (
                    total_variation(change) + change.diff(dim=0).abs().sum() / change.numel()
                ),
            ),
            "squared steps": (
                "Take the size of each step, not its square.",
                lambda change: (
                    (change.diff(dim=-2).square().sum() + change.diff(dim=-1).square().sum())
                    / change.numel()
                ),
            ),
        },
        0: {
            "steps without their size": (
                "Steps up and down cancel in your sum.",
                lambda change: (
                    (change.diff(dim=-2).sum() + change.diff(dim=-1).sum()) / change.numel()
                ),
            ),
        },
    },
)

# The map


def _without_border(changed: Tensor, border: int) -> Tensor:
    height, width = changed.shape
    inner = slice(border, height - border), slice(border, width - border)
    relevance = torch.zeros_like(changed)
    relevance[inner] = changed[inner]
    return relevance


def perturbation_map(image: Tensor, perturbed: Tensor, power: float, border: int) -> Tensor:
    """The change of the channels' mean to a power, and 0 along the border."""
    return _without_border((image.mean(dim=0) - perturbed.mean(dim=0)).abs() ** power, border)


def _gathered(change: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """A wrong `perturbation_map` that gathers the channels in another way."""
    return lambda image, perturbed, power, border: _without_border(
        change(image - perturbed, power), border
    )


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
    slips={"border left out": 1, "power left out": 1},
    mistakes={
        1: {
            "the border cut off": (
                "Your map has become smaller. Keep the picture's size, with zeros along the "
                "border.",
                lambda image, perturbed, power, border: perturbation_map(
                    image, perturbed, power, border
                )[border : image.shape[1] - border, border : image.shape[2] - border],
            ),
            "channels averaged after the power": (
                "You raise each channel to the power and average afterwards. First average the "
                "channels of both images, then take the difference.",
                _gathered(lambda change, power: (change.abs() ** power).mean(dim=0)),
            ),
            "channels averaged after the absolute value": (
                "You take the absolute change in each channel and average afterwards. First "
                "average the channels of both images, then take the difference.",
                _gathered(lambda change, power: change.abs().mean(dim=0) ** power),
            ),
            "channels summed": (
                "You add up the channels. Take their mean.",
                _gathered(lambda change, power: change.sum(dim=0).abs() ** power),
            ),
        },
    },
)

# The centre


def _centre(mass: Tensor) -> tuple[float, float]:
    mass = mass.double()
    rows, columns = (torch.arange(n).double() for n in mass.shape)
    x, y = mass.sum(dim=0) @ columns, mass.sum(dim=1) @ rows
    return (x / mass.sum()).item(), (y / mass.sum()).item()


def centre_of_mass(relevance: Tensor) -> tuple[float, float]:
    """(x, y) of the centre; negative values count as 0."""
    return _centre(relevance.clamp(min=0))


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
    slips={"results swapped": 1},
    mistakes={
        1: {
            "negative values counted": (
                "Negative values pull the centre away, even out of the picture. They count as 0.",
                lambda relevance: _centre(relevance),
            ),
            "size of negative values counted": (
                "A strongly negative place attracts your centre. Negative values count as 0.",
                lambda relevance: _centre(relevance.abs()),
            ),
            "every positive pixel alike": (
                "Each positive pixel counts the same in your mean. Weight it by its value.",
                lambda relevance: _centre(relevance > 0),
            ),
            "not divided by the whole mass": (
                "Twice the map must have the same centre: divide by the sum of the values.",
                lambda relevance: tuple(
                    part * relevance.clamp(min=0).sum().item() for part in centre_of_mass(relevance)
                ),
            ),
            "counted from 1": (
                "The first column is number 0.",
                lambda relevance: tuple(part + 1 for part in centre_of_mass(relevance)),
            ),
            "from the pixels' corners": (
                "You add one half to each place. Here the place of a pixel is its index.",
                lambda relevance: tuple(part + 0.5 for part in centre_of_mass(relevance)),
            ),
        },
        0: {
            "the largest value instead of the centre": (
                "You return the place of the largest value. In a centre all values count.",
                lambda relevance: (
                    int(relevance.argmax()) % relevance.shape[1],
                    int(relevance.argmax()) // relevance.shape[1],
                ),
            ),
        },
    },
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
