"""Lab 6: relevance against gaze, and deletion and insertion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from labkit.metrics import gaze
from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Mistake, Question, normal, numbers
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
    mistakes=(
        Mistake(
            "0 / 0",
            "A constant map has no deviation: 0 / 0 is NaN. It says nothing, and is to get 0.",
            lambda S, Q: (_covariance(S, Q) / (_deviation(S) * _deviation(Q))).item(),
        ),
        Mistake(
            "means not taken away",
            "That is the cosine of the angle between the maps. A correlation compares deviations "
            "from the mean: adding a constant must not change it.",
            lambda S, Q: ((S * Q).sum() / (S.norm() * Q.norm())).item(),
        ),
        Mistake(
            "covariance",
            "Your number grows with the maps. Divide by both deviations.",
            lambda S, Q: _covariance(S, Q).item(),
        ),
        Mistake(
            "population and sample mixed",
            "You divide by n in one place and by n - 1 in another: equal maps would not get 1.",
            lambda S, Q: (
                _covariance(S, Q) / (S.double().std() * Q.double().std()).clamp(min=1e-30)
            ).item(),
            points=1,
        ),
        Mistake(
            "sample over population",
            "You divide by n in one place and by n - 1 in another: equal maps would not get 1.",
            lambda S, Q: (
                _covariance(S, Q)
                * S.numel()
                / (S.numel() - 1)
                / (_deviation(S) * _deviation(Q)).clamp(min=1e-30)
            ).item(),
            points=1,
        ),
        Mistake(
            "squared correlation",
            "You squared, and the sign is lost: opposite maps must get -1.",
            lambda S, Q: pcc(S, Q) ** 2,
            points=1,
        ),
        Mistake(
            "absolute correlation",
            "The sign is lost: opposite maps must get -1.",
            lambda S, Q: abs(pcc(S, Q)),
            points=1,
        ),
        Mistake(
            "divided by the variances",
            "You divide by the variances; it takes the deviations, their roots.",
            lambda S, Q: (
                _covariance(S, Q) / (_deviation(S) * _deviation(Q)).square().clamp(min=1e-30)
            ).item(),
            points=1,
        ),
    ),
)

# Similarity


def sim(S: Tensor, Q: Tensor) -> float:
    """The sum of the smaller values, once both maps are stretched and add up to 1."""
    return gaze.sim(S, Q)


def _stretched(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def _distribution(values: Tensor) -> Tensor:
    return values / values.sum()


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
    mistakes=(
        Mistake(
            "floors left on",
            "A map on a floor gets another number from you: bring the smallest value of *both* "
            "maps to 0 first.",
            lambda S, Q: torch.minimum(_distribution(S), _distribution(Q)).sum().item(),
            points=1,
        ),
        Mistake(
            "floor of one map left on",
            "Only one of the maps was brought down to 0.",
            lambda S, Q: torch.minimum(_distribution(_stretched(S)), _distribution(Q)).sum().item(),
            points=1,
        ),
        Mistake(
            "not divided by the sum",
            "Your maps run from 0 to 1, but do not add up to 1: a bright map shares more.",
            lambda S, Q: torch.minimum(_stretched(S), _stretched(Q)).sum().item(),
            points=1,
        ),
        Mistake(
            "mean instead of sum",
            "Equal maps must get 1. You divide by the number of pixels.",
            lambda S, Q: sim(S, Q) / S.numel(),
            points=1,
        ),
        Mistake(
            "larger values instead of smaller ones",
            "Shared is what *both* have: the smaller value at each pixel.",
            lambda S, Q: (
                torch.maximum(_distribution(_stretched(S)), _distribution(_stretched(Q)))
                .sum()
                .item()
            ),
            points=1,
        ),
        Mistake(
            "product instead of minimum",
            "You multiply the maps. Shared is the smaller of the two values at each pixel.",
            lambda S, Q: (_distribution(_stretched(S)) * _distribution(_stretched(Q))).sum().item(),
        ),
        Mistake(
            "negative values cut off",
            "You set negative values to 0. The map is to be *lifted* or lowered as a whole.",
            lambda S, Q: (
                torch.minimum(_distribution(S.clamp(min=0)), _distribution(Q.clamp(min=0)))
                .sum()
                .item()
            ),
            points=1,
        ),
        Mistake(
            "a softmax instead of a division",
            "Your maps add up to 1, but through a softmax, which exaggerates the largest values.",
            lambda S, Q: (
                torch.minimum(S.flatten().softmax(dim=0), Q.flatten().softmax(dim=0)).sum().item()
            ),
        ),
    ),
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
    mistakes=(
        Mistake(
            "swapped axes",
            "A fixation is (x, y): x counts columns. Which index of a tensor comes first?",
            lambda S, fixations: _at(_standardised(S), fixations.flip(1)).mean().item(),
            points=1,
        ),
        Mistake(
            "sample for population deviation",
            "torch's `std` divides by n - 1 unless told otherwise. The pixels are all there are: "
            "divide by n.",
            lambda S, fixations: _at((S - S.mean()) / S.std(), fixations).mean().item(),
            points=1,
        ),
        Mistake(
            "mean not taken away",
            "A map on a floor gets a higher number from you. 0 is to mean chance.",
            lambda S, fixations: _at(S / _deviation(S), fixations).mean().item(),
            points=1,
        ),
        Mistake(
            "not divided by the deviation",
            "Your number grows with the map. Its unit is to be the map's own deviation.",
            lambda S, fixations: _at(S - S.mean(), fixations).mean().item(),
            points=1,
        ),
        Mistake(
            "divided by the variance",
            "You divide by the variance; it takes the deviation, its root.",
            lambda S, fixations: (_at(_standardised(S), fixations) / _deviation(S)).mean().item(),
            points=1,
        ),
        Mistake(
            "sum instead of mean",
            "Your number grows with the number of fixations.",
            lambda S, fixations: _at(_standardised(S), fixations).sum().item(),
            points=1,
        ),
        Mistake(
            "rounded instead of cut off",
            "A pixel is an area: column 1 reaches from x = 1 to x = 2, so that x = 1.7 lies in it.",
            lambda S, fixations: (
                _at(
                    _standardised(S),
                    fixations.round().minimum(torch.tensor([S.shape[1] - 1, S.shape[0] - 1])),
                )
                .mean()
                .item()
            ),
            points=1,
        ),
        Mistake(
            "standardised over the fixations only",
            "Mean and deviation are those of the whole map, not of the fixated pixels.",
            lambda S, fixations: _at(S, fixations).mean().item(),
        ),
    ),
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
    mistakes=(
        Mistake(
            "mean of the points",
            "The first and the last point count as much as the others in your mean. Each stands at "
            "the end of one trapezoid only.",
            lambda scores: scores.mean().item(),
        ),
        Mistake(
            "width 1 for each step",
            "The whole way is 1 long, and not each step.",
            lambda scores: torch.trapezoid(scores).item(),
        ),
        Mistake(
            "divided by the points instead of the steps",
            "n points have n - 1 steps between them.",
            lambda scores: (torch.trapezoid(scores) / len(scores)).item(),
        ),
        Mistake(
            "left ends",
            "You take each step's value at its start. A trapezoid takes both ends.",
            lambda scores: scores[:-1].mean().item(),
        ),
        Mistake(
            "right ends",
            "You take each step's value at its end. A trapezoid takes both ends.",
            lambda scores: scores[1:].mean().item(),
        ),
        Mistake(
            "sum of the points",
            "You add up the values; how wide is each step?",
            lambda scores: scores.sum().item(),
        ),
    ),
)

# Deletion and insertion


def _probability(logits: Tensor, target: int) -> Tensor:
    return logits.softmax(dim=1)[:, target]


def _curve(
    model: nn.Module,
    start: Tensor,
    finish: Tensor,
    target: int,
    S: Tensor,
    step: int,
    *,
    score: Callable[[Tensor, int], Tensor] = _probability,
    descending: bool = True,
    cumulative: bool = True,
    channels: slice = slice(None),
    counts: slice = slice(None),
) -> Tensor:
    """Scores while pixels of start become those of finish; the settings make mistakes."""
    order = S.flatten().argsort(descending=descending)
    points = [*range(0, S.numel(), step), S.numel()]
    images = []
    for n, before in zip(points, [0, *points], strict=False):
        changed = start.clone().flatten(1)
        some = order[:n] if cumulative else order[before:n]
        source = finish.flatten(1)
        changed[channels, some] = source[channels, some]
        images.append(changed.view_as(start))
    with torch.no_grad():
        return score(model(torch.stack(images[counts])), target)


def deletion_curve(
    model: nn.Module, image: Tensor, target: int, S: Tensor, step: int, **settings: object
) -> Tensor:
    """The probability while the most relevant pixels become 0."""
    return _curve(model, image, torch.zeros_like(image), target, S, step, **settings)


def insertion_curve(
    model: nn.Module,
    image: Tensor,
    target: int,
    S: Tensor,
    step: int,
    start: Tensor,
    **settings: object,
) -> Tensor:
    """The probability while the most relevant pixels are put into the start."""
    return _curve(model, start, image, target, S, step, **settings)


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


def _of_curve(curve: Callable[..., Tensor]) -> tuple[Mistake, ...]:
    return (
        Mistake(
            "least relevant pixels first",
            "Your order begins with the *least* relevant pixels.",
            partial(curve, descending=False),
            points=2,
        ),
        Mistake(
            "logit for softmax",
            "You give logits; the curve is one of probabilities.",
            partial(curve, score=lambda logits, target: logits[:, target]),
            points=2,
        ),
        Mistake(
            "the winning class instead of the target",
            "You give the probability of the likeliest class, which changes along the way.",
            partial(curve, score=lambda logits, target: logits.softmax(dim=1).amax(dim=1)),
            points=2,
        ),
        Mistake(
            "the first point missing",
            "The curve begins before any pixel was changed.",
            partial(curve, counts=slice(1, None)),
            points=2,
        ),
        Mistake(
            "the last point missing",
            "The curve ends when all pixels were changed.",
            partial(curve, counts=slice(None, -1)),
            points=2,
        ),
        Mistake(
            "each step from the beginning",
            "Each of your pictures has only the pixels of its own step changed. The steps add up.",
            partial(curve, cumulative=False),
            points=1,
        ),
        Mistake(
            "one channel changed",
            "A pixel has all channels; you change one of them.",
            partial(curve, channels=slice(0, 1)),
            points=1,
        ),
    )


DELETION_CURVE = on_card(
    "lab6.deletion_curve",
    solve=deletion_curve,
    questions=_deletion_questions,
    mistakes=(
        *_of_curve(deletion_curve),
        Mistake(
            "pixels put in instead of taken away",
            "Your curve begins with an empty picture. That is insertion, the next exercise.",
            lambda model, image, target, S, step: insertion_curve(
                model, image, target, S, step, torch.zeros_like(image)
            ),
            points=1,
        ),
        Mistake(
            "mean colour of the image instead of 0",
            "Deleted pixels get the image's own mean; here they are to become 0.",
            lambda model, image, target, S, step: _curve(
                model,
                image,
                image.mean(dim=(1, 2), keepdim=True).expand_as(image).contiguous(),
                target,
                S,
                step,
            ),
            points=2,
        ),
    ),
)

INSERTION_CURVE = on_card(
    "lab6.insertion_curve",
    solve=insertion_curve,
    questions=_insertion_questions,
    mistakes=(
        *_of_curve(insertion_curve),
        Mistake(
            "the start left out",
            "You start from zeros, whatever `start` says.",
            lambda model, image, target, S, step, start: insertion_curve(
                model, image, target, S, step, torch.zeros_like(image)
            ),
            points=2,
        ),
        Mistake(
            "deletion down to the start",
            "Your curve begins with the image. It is to begin with `start` and end with the image.",
            lambda model, image, target, S, step, start: _curve(
                model, image, start, target, S, step
            ),
            points=1,
        ),
        Mistake(
            "pixels added to the start",
            "You add the image's pixels to those of the start; they are to *replace* them.",
            lambda model, image, target, S, step, start: _curve(
                model, start, start + image, target, S, step
            ),
            points=2,
        ),
    ),
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
