"""Lab 6: relevance against gaze, and deletion and insertion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from labkit.metrics import gaze
from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Question, normal, numbers
from labkit.selfcheck.networks import Network, drawn

# Correlation


def pcc(S: Tensor, Q: Tensor) -> float:
    """Pearson's correlation; 0 for a constant S."""
    a, b = S.double() - S.double().mean(), Q.double() - Q.double().mean()
    length = a.norm() * b.norm()
    return ((a * b).sum() / length).item() if length > 0 else 0.0


def _deviation(values: Tensor) -> Tensor:
    return values.double().std(correction=0)


def _covariance(S: Tensor, Q: Tensor) -> Tensor:
    a, b = S.double() - S.double().mean(), Q.double() - Q.double().mean()
    return (a * b).mean()


def _pair(rng: np.random.Generator, *shape: int) -> dict[str, np.ndarray]:
    """A signed map, and a density that has something to do with it."""
    S = normal(rng, *shape)
    return {"S": S, "Q": np.abs(S + normal(rng, *shape))}


def _pcc_questions(rng: np.random.Generator) -> list[Question]:
    # Deviations (-1, 0, 1, 0) and (-1, 1, 1, -1): 2 / (sqrt(2) * 2)
    by_hand = {"S": numbers([[0, 1], [2, 1]]), "Q": numbers([[1, 3], [3, 1]])}
    constant = np.full((4, 4), 0.5, dtype=np.float32)
    return [
        Question("by hand: 2 x 2", by_hand),
        Question("by hand: opposite maps", {"S": by_hand["S"], "Q": 5 - 2 * by_hand["S"]}),
        Question("random maps", _pair(rng, 4, 6)),
        Question(
            "a constant map", {"S": constant, "Q": _pair(rng, 4, 4)["Q"]}, part="constant map"
        ),
    ]


PCC = on_card(
    "lab6.pcc",
    separate={"constant map": 1},
    solve=pcc,
    questions=_pcc_questions,
    slips={"squared": 1, "sign lost": 1},
    mistakes={
        1: {
            "population and sample mixed": (
                "You divide by n in one place and by n - 1 in another. Then equal maps do not get "
                "1.",
                lambda S, Q: (
                    _covariance(S, Q) / (S.double().std() * Q.double().std()).clamp(min=1e-30)
                ),
            ),
            "sample over population": (
                "You divide by n in one place and by n - 1 in another. Then equal maps do not get "
                "1.",
                lambda S, Q: (
                    _covariance(S, Q)
                    * S.numel()
                    / (S.numel() - 1)
                    / (_deviation(S) * _deviation(Q)).clamp(min=1e-30)
                ),
            ),
            "divided by the variances": (
                "You divide by the variances. Divide by the deviations, their roots.",
                lambda S, Q: (
                    _covariance(S, Q) / (_deviation(S) * _deviation(Q)).square().clamp(min=1e-30)
                ),
            ),
        },
        0: {
            "0 / 0": (
                "A constant map has no deviation, and 0 / 0 is NaN. Return 0 for it.",
                lambda S, Q: _covariance(S, Q) / (_deviation(S) * _deviation(Q)),
            ),
            "means not taken away": (
                "That is the cosine of the angle between the maps. Subtract the means first: "
                "adding a constant must not change a correlation.",
                lambda S, Q: (S * Q).sum() / (S.norm() * Q.norm()),
            ),
            "covariance": (
                "Your number grows with the maps. Divide by both deviations.",
                lambda S, Q: _covariance(S, Q),
            ),
        },
    },
)

# Similarity


def sim(S: Tensor, Q: Tensor) -> float:
    """The sum of the smaller values, once both maps are stretched and add up to 1."""
    return gaze.sim(S, Q)


def _stretched(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def _distribution(values: Tensor) -> Tensor:
    return values / values.sum()


def _stretched_to_1(values: Tensor) -> Tensor:
    return _distribution(_stretched(values))


def _shared(S: Tensor, Q: Tensor) -> Tensor:
    return torch.minimum(S, Q).sum()


def _sim_questions(rng: np.random.Generator) -> list[Question]:
    # Without their floors (0, 1, 3, 0) / 4 and (2, 2, 0, 0) / 4: they share 1/4.
    by_hand = {"S": numbers([[1, 2], [4, 1]]), "Q": numbers([[2, 2], [0, 0]])}
    floor = {"S": by_hand["S"] + 5, "Q": by_hand["Q"] + 1}
    return [
        Question("by hand: 2 x 2", by_hand),
        Question("by hand: the same on a floor", floor),
        Question("random maps", _pair(rng, 4, 6)),
    ]


SIM = on_card(
    "lab6.sim",
    solve=sim,
    questions=_sim_questions,
    slips={"mean instead of sum": 1},
    mistakes={
        1: {
            "floors left on": (
                "A constant added to a map changes your number. First shift the smallest value of "
                "*both* maps to 0.",
                lambda S, Q: _shared(_distribution(S), _distribution(Q)),
            ),
            "floor of one map left on": (
                "You shift the smallest value of only one map to 0. Shift both.",
                lambda S, Q: _shared(_distribution(_stretched(S)), _distribution(Q)),
            ),
            "not divided by the sum": (
                "Your maps run from 0 to 1, but do not add up to 1. Divide each by its sum.",
                lambda S, Q: _shared(_stretched(S), _stretched(Q)),
            ),
            "larger values instead of smaller ones": (
                "You add up the larger values. Two maps share the *smaller* value at each pixel.",
                lambda S, Q: torch.maximum(_stretched_to_1(S), _stretched_to_1(Q)).sum(),
            ),
            "negative values cut off": (
                "You set negative values to 0. *Shift* the whole map instead.",
                lambda S, Q: _shared(_distribution(S.clamp(min=0)), _distribution(Q.clamp(min=0))),
            ),
        },
        0: {
            "product instead of minimum": (
                "You multiply the maps. They share the smaller of the two values at each pixel.",
                lambda S, Q: (_stretched_to_1(S) * _stretched_to_1(Q)).sum(),
            ),
            "a softmax instead of a division": (
                "You use a softmax, which exaggerates the largest values. Divide by the sum "
                "instead.",
                lambda S, Q: _shared(S.flatten().softmax(dim=0), Q.flatten().softmax(dim=0)),
            ),
        },
    },
)

# Normalised scanpath saliency


def nss(S: Tensor, fixations: Tensor) -> float:
    """The mean of the standardised map at the fixations (x, y)."""
    return gaze.nss(S, fixations)


def _standardised(S: Tensor) -> Tensor:
    return (S.double() - S.double().mean()) / _deviation(S)


def _at(S: Tensor, fixations: Tensor) -> Tensor:
    x, y = fixations.floor().long().T
    return S[y, x]


def _nss_questions(rng: np.random.Generator) -> list[Question]:
    # Mean 2, deviation 2: the standardised map is (-1, -1, 1, 1).
    by_hand = {"S": numbers([[0, 0], [4, 4]]), "fixations": numbers([[0.5, 1.5], [1.7, 1.2]])}
    one_each = {"S": by_hand["S"], "fixations": numbers([[1.9, 0.1], [0.2, 1.9], [1.0, 1.0]])}
    fixations = np.stack([rng.uniform(0, 5, size=7), rng.uniform(0, 5, size=7)], axis=1)
    return [
        Question("by hand: both below", by_hand),
        Question("by hand: one above, two below", one_each),
        Question("a random map", {"S": normal(rng, 5, 5), "fixations": numbers(fixations)}),
        Question(
            "a wide map, a fixation at the right border",
            {"S": normal(rng, 3, 8), "fixations": numbers([[7.9, 0.5], [2.6, 2.7]])},
        ),
    ]


NSS = on_card(
    "lab6.nss",
    solve=nss,
    questions=_nss_questions,
    slips={"sum instead of mean": 1},
    mistakes={
        1: {
            "swapped axes": (
                "A fixation is (x, y): x counts columns. Which index of a tensor comes first?",
                lambda S, fixations: _at(_standardised(S), fixations.flip(1)).mean(),
            ),
            "sample for population deviation": (
                "By default, torch's `std` divides by n - 1. The pixels are not a sample: divide "
                "by n.",
                lambda S, fixations: _at((S - S.mean()) / S.std(), fixations).mean(),
            ),
            "mean not taken away": (
                "A constant added to the map raises your number. Subtract the mean, so that 0 "
                "means chance.",
                lambda S, fixations: _at(S / _deviation(S), fixations).mean(),
            ),
            "not divided by the deviation": (
                "Your number grows with the map. Divide by the map's own deviation.",
                lambda S, fixations: _at(S - S.mean(), fixations).mean(),
            ),
            "divided by the variance": (
                "You divide by the variance. Divide by the deviation, its root.",
                lambda S, fixations: (_at(_standardised(S), fixations) / _deviation(S)).mean(),
            ),
            "rounded instead of cut off": (
                "You round. Column 1 reaches from x = 1 to x = 2, so x = 1.7 lies in it.",
                lambda S, fixations: _at(
                    _standardised(S),
                    fixations.round().minimum(torch.tensor([S.shape[1] - 1, S.shape[0] - 1])),
                ).mean(),
            ),
        },
        0: {
            "standardised over the fixations only": (
                "Mean and deviation are those of the whole map, not of the fixated pixels.",
                lambda S, fixations: _at(S, fixations).mean(),
            ),
        },
    },
)

# The area under a curve


def area(scores: Tensor) -> float:
    """Trapezoids, from 0 to 1."""
    return ((scores[1:] + scores[:-1]) / 2).mean().item()


def _area_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question("by hand: a straight fall from 1 to 0", {"scores": numbers([1, 0.5, 0])}),
        Question("by hand: four points", {"scores": numbers([1, 0, 0, 0.5])}),
        Question("a random curve", {"scores": numbers(rng.random(9))}),
        Question("two points", {"scores": numbers(rng.random(2))}, hidden=True),
    ]


AREA = on_card(
    "lab6.area",
    solve=area,
    questions=_area_questions,
    mistakes={
        0: {
            "mean of the points": (
                "In your mean, the first and the last point count as much as the others. Each "
                "belongs to only one trapezoid.",
                lambda scores: scores.mean(),
            ),
            "width 1 for each step": (
                "Your steps have width 1. The whole way has length 1.",
                lambda scores: torch.trapezoid(scores),
            ),
            "divided by the points instead of the steps": (
                "n points have n - 1 steps between them.",
                lambda scores: torch.trapezoid(scores) / len(scores),
            ),
            "left ends": (
                "You take each step's value at its start. A trapezoid takes both ends.",
                lambda scores: scores[:-1].mean(),
            ),
            "right ends": (
                "You take each step's value at its end. A trapezoid takes both ends.",
                lambda scores: scores[1:].mean(),
            ),
            "sum of the points": (
                "You add up the values; how wide is each step?",
                lambda scores: scores.sum(),
            ),
        },
    },
)

# Deletion and insertion


def _changed(S: Tensor, step: int) -> Tensor:
    """Where pixels have changed at each point, the most relevant first, [n, H, W]."""
    rank = S.flatten().argsort(descending=True).argsort().view_as(S)
    counts = torch.tensor([*range(0, S.numel(), step), S.numel()])
    return rank < counts[:, None, None]


def _logits(model: nn.Module, start: Tensor, finish: Tensor, changed: Tensor) -> Tensor:
    return model(torch.where(changed[:, None], finish, start))  # [n, K]


def deletion_curve(model: nn.Module, image: Tensor, target: int, S: Tensor, step: int) -> Tensor:
    """The probability while the most relevant pixels become 0."""
    logits = _logits(model, image, torch.zeros_like(image), _changed(S, step))
    return logits.softmax(dim=1)[:, target]


def insertion_curve(
    model: nn.Module, image: Tensor, target: int, S: Tensor, step: int, start: Tensor
) -> Tensor:
    """The probability while the most relevant pixels are put into the start."""
    logits = _logits(model, start, image, _changed(S, step))
    return logits.softmax(dim=1)[:, target]


def _curve_inputs(rng: np.random.Generator) -> list[tuple[str, dict[str, object]]]:
    # Logits (x_1 + 2 x_2 + 4 x_3 + 8 x_4, 0) / 4, all pixels 1.
    linear = Network(
        "linear",
        {"out.weight": numbers([[0.25, 0.5, 1, 2], [0] * 4]), "out.bias": numbers([0, 0])},
    )
    by_hand = {
        "model": linear,
        "image": numbers(np.ones((1, 1, 4))),
        "target": 0,
        "S": numbers([[1, 3, 2, 4]]),
        "step": 1,
    }
    some = {
        "model": drawn(rng, "mlp", hidden=(16, 3 * 4 * 5), out=(3, 16)),
        "image": normal(rng, 3, 4, 5),
        "S": numbers(rng.permutation(20).reshape(4, 5) - 7),  # no ties
    }
    return [
        ("by hand: four pixels, one at a time", by_hand),
        ("by hand: two at a time", by_hand | {"step": 2}),
        ("a random network, class 0", some | {"target": 0, "step": 4}),
        ("a random network, class 2", some | {"target": 2, "step": 5}),
        ("a last step that is shorter", some | {"target": 1, "step": 6}),
    ]


def _deletion_questions(rng: np.random.Generator) -> list[Question]:
    return [Question(name, inputs) for name, inputs in _curve_inputs(rng)]


def _insertion_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question(name, inputs | {"start": normal(rng, *inputs["image"].shape)})
        for name, inputs in _curve_inputs(rng)
    ]


Ends = Callable[..., tuple[Tensor, Tensor]]  # an image, and perhaps a start, to both ends


def _towards_zero(image: Tensor) -> tuple[Tensor, Tensor]:
    return image, torch.zeros_like(image)


def _towards_image(image: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    return start, image


def _step_alone(S: Tensor, step: int) -> Tensor:
    changed = _changed(S, step)
    return changed & ~changed.roll(1, dims=0)


def _along(
    ends: Ends, changed: Callable[[Tensor, int], Tensor] = _changed
) -> Callable[..., Tensor]:
    """A curve between other ends, or with other pixels changed."""
    return lambda model, image, target, S, step, **start: _logits(
        model, *ends(image, **start), changed(S, step)
    ).softmax(dim=1)[:, target]


def _one_channel(ends: Ends) -> Ends:
    def changed_in_red(image: Tensor, **start: Tensor) -> tuple[Tensor, Tensor]:
        first, last = ends(image, **start)
        return first, torch.cat([last[:1], first[1:]])

    return changed_in_red


def _of_logits(ends: Ends) -> Callable[..., Tensor]:
    return lambda model, image, target, S, step, **start: _logits(
        model, *ends(image, **start), _changed(S, step)
    )[:, target]


def _nearly(curve: Callable[..., Tensor], ends: Ends) -> dict[str, tuple[str, Callable]]:
    """What goes wrong in either curve, and costs one point."""
    return {
        "logit for softmax": (
            "You return logits. The curve is one of probabilities.",
            _of_logits(ends),
        ),
        "the first point missing": (
            "The curve begins before any pixel was changed.",
            lambda **inputs: curve(**inputs)[1:],
        ),
        "the last point missing": (
            "The curve ends when all pixels were changed.",
            lambda **inputs: curve(**inputs)[:-1],
        ),
    }


def _half(ends: Ends) -> dict[str, tuple[str, Callable]]:
    """What goes wrong in either curve, and costs more."""
    return {
        "each step from the beginning": (
            "In each of your pictures, only the pixels of one step are changed. The steps add up.",
            _along(ends, _step_alone),
        ),
        "one channel changed": (
            "You change only one channel of a pixel. Change all of them.",
            _along(_one_channel(ends)),
        ),
    }


DELETION_CURVE = on_card(
    "lab6.deletion_curve",
    solve=deletion_curve,
    questions=_deletion_questions,
    slips={"the winning class instead of the target": 2, "opposite sign of S": 2},
    mistakes={
        2: {
            **_nearly(deletion_curve, _towards_zero),
            "mean colour of the image instead of 0": (
                "You set deleted pixels to the image's mean. Set them to 0.",
                _along(lambda image: (image, image.mean(dim=(1, 2), keepdim=True))),
            ),
        },
        1: {
            **_half(_towards_zero),
            "pixels put in instead of taken away": (
                "Your curve begins with an empty picture. That is insertion, the next exercise.",
                _along(lambda image: (torch.zeros_like(image), image)),
            ),
        },
    },
)

INSERTION_CURVE = on_card(
    "lab6.insertion_curve",
    solve=insertion_curve,
    questions=_insertion_questions,
    slips={
        "the winning class instead of the target": 2,
        "start left out": 2,
        "image and start swapped": 1,
        "opposite sign of S": 2,
    },
    mistakes={
        2: {
            **_nearly(insertion_curve, _towards_image),
            "pixels added to the start": (
                "You add the image's pixels to those of the start. *Replace* them.",
                _along(lambda image, start: (start, start + image)),
            ),
        },
        1: _half(_towards_image),
    },
)

EXERCISES = (
    AREA,
    PCC,
    SIM,
    NSS,
    DELETION_CURVE,
    INSERTION_CURVE,
    on_card("lab6.q1"),
)
