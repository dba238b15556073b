"""Lab 2: gradients of a class score with respect to the pixels, their averages, and occlusion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Mistake, Question, normal, numbers
from labkit.selfcheck.networks import Network, drawn

Score = Callable[
    [Tensor, int], Tensor
]  # logits [1, K] and a target to the number that is explained


def _logit(logits: Tensor, target: int) -> Tensor:
    return logits[0, target]


def _probability(logits: Tensor, target: int) -> Tensor:
    return logits.softmax(dim=1)[0, target]


# A linear network, whose gradient is its weight: two channels of 1 x 2 pixels, two classes.
LINEAR = Network(
    "linear",
    {"out.weight": numbers([[3, -1, -2, 4], [1, 1, 0, 0]]), "out.bias": numbers([0.5, 0])},
)
TWO_PIXELS = numbers([[[1, 2]], [[0.5, -1]]])


def _some_network(rng: np.random.Generator, n_classes: int = 3) -> dict[str, object]:
    """A network that is not linear, and an image that is not square."""
    return {
        "model": drawn(rng, "mlp", hidden=(16, 3 * 4 * 5), out=(n_classes, 16)),
        "image": normal(rng, 3, 4, 5),
    }


def _explained(rng: np.random.Generator) -> list[Question]:
    """One network by hand, and one drawn, asked about each class: one of them does not win."""
    by_hand, some = {"model": LINEAR, "image": TWO_PIXELS}, _some_network(rng)
    return [
        Question("by hand: a linear network, class 0", by_hand | {"target": 0}),
        Question("by hand: a linear network, class 1", by_hand | {"target": 1}),
        *(Question(f"a random network, class {k}", some | {"target": k}) for k in range(3)),
    ]


# The gradient


def input_gradient(
    model: nn.Module, image: Tensor, target: int, *, score: Score = _logit
) -> Tensor:
    """dY/dx; another score makes a mistake."""
    x = image.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(model(x[None]), target), x)
    return gradient


OF_ANOTHER_SCORE = {
    "softmax for logit": (
        "You differentiate the probability. It also moves when another class moves, and hardly at "
        "all where the network is sure. Y is the score before the softmax.",
        _probability,
    ),
    "logarithm of the probability for logit": (
        "You differentiate the logarithm of the probability. It also moves when another class "
        "moves. Y is the score before the softmax.",
        lambda logits, target: logits.log_softmax(dim=1)[0, target],
    ),
    "gradient of the loss": (
        "You differentiate a loss. It falls where the score rises, and mixes all classes.",
        lambda logits, target: -logits.log_softmax(dim=1)[0, target],
    ),
    "the winning class instead of the target": (
        "You explain the class with the largest score, whatever `target` says.",
        lambda logits, target: logits.max(),
    ),
    "all classes at once": (
        "You differentiate the sum of all logits. One class is to be explained.",
        lambda logits, target: logits.sum(),
    ),
}


INPUT_GRADIENT = on_card(
    "lab2.input_gradient",
    solve=input_gradient,
    questions=_explained,
    mistakes=(
        *(
            Mistake(name, hint, partial(input_gradient, score=score), points=1)
            for name, (hint, score) in OF_ANOTHER_SCORE.items()
        ),
        Mistake(
            "absolute gradient",
            "The gradient is to keep its sign; what to do with it is the next exercise.",
            lambda model, image, target: input_gradient(model, image, target).abs(),
            points=1,
        ),
        Mistake(
            "the batch dimension left on",
            "The gradient of the batch came back, [1, C, H, W]. Wanted is that of the image.",
            lambda model, image, target: input_gradient(model, image, target)[None],
            points=1,
        ),
        Mistake(
            "gradient times input",
            "You multiply with the image. Wanted is the gradient alone.",
            lambda model, image, target: input_gradient(model, image, target) * image,
        ),
    ),
)

# One number for each pixel


def _gradient_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question("by hand: two pixels", {"gradient": numbers([[[3, -4]], [[4, 0]], [[0, 1]]])}),
        Question("a random gradient", {"gradient": normal(rng, 3, 4, 5)}),
        Question("as many channels as rows", {"gradient": normal(rng, 3, 3, 3)}),
    ]


def sensitivity(gradient: Tensor) -> Tensor:
    """Sum over channels of the squared gradient."""
    return gradient.square().sum(dim=0)


SENSITIVITY = on_card(
    "lab2.sensitivity",
    solve=sensitivity,
    questions=_gradient_questions,
    mistakes=(
        Mistake(
            "root of the sum",
            "You took the length. Sensitivity is the *squared* length.",
            lambda gradient: gradient.norm(dim=0),
        ),
        Mistake(
            "square of the sum",
            "You add up the channels and square then: plus and minus cancel. Square first.",
            lambda gradient: gradient.sum(dim=0).square(),
        ),
        Mistake(
            "mean over the channels instead of their sum",
            "You divide by the number of channels.",
            lambda gradient: gradient.square().mean(dim=0),
        ),
        Mistake(
            "absolute values instead of squares",
            "You add up absolute values. Which power makes large values stand out?",
            lambda gradient: gradient.abs().sum(dim=0),
        ),
        Mistake(
            "the largest channel instead of the sum",
            "You keep one channel of each pixel. In a length all of them count.",
            lambda gradient: gradient.square().amax(dim=0),
        ),
        Mistake(
            "summed over the wrong dimension",
            "The channels are the first dimension of [C, H, W]; you added up over the last.",
            lambda gradient: gradient.square().sum(dim=-1),
        ),
    ),
)


def saliency(gradient: Tensor) -> Tensor:
    """The largest absolute gradient among the channels."""
    return gradient.abs().amax(dim=0)


SALIENCY = on_card(
    "lab2.saliency",
    solve=saliency,
    questions=_gradient_questions,
    mistakes=(
        Mistake(
            "no absolute value",
            "A strongly negative derivative matters as much as a positive one. You look for the "
            "largest value, not for the largest size.",
            lambda gradient: gradient.amax(dim=0),
        ),
        Mistake(
            "absolute value after the maximum",
            "You pick the channel first and take its size then. A strongly negative one was "
            "already lost.",
            lambda gradient: gradient.amax(dim=0).abs(),
        ),
        Mistake(
            "mean over the channels",
            "You average the channels. Simonyan et al. keep one of them: which?",
            lambda gradient: gradient.abs().mean(dim=0),
        ),
        Mistake(
            "sum over the channels",
            "You add up the channels. Simonyan et al. keep one of them: which?",
            lambda gradient: gradient.abs().sum(dim=0),
        ),
        Mistake(
            "largest square",
            "You squared. Saliency has the unit of the gradient itself.",
            lambda gradient: gradient.square().amax(dim=0),
        ),
        Mistake(
            "maximum over the wrong dimension",
            "The channels are the first dimension of [C, H, W]; you searched along the last.",
            lambda gradient: gradient.abs().amax(dim=-1),
        ),
    ),
)

# SmoothGrad


def _sigma(image: Tensor, level: float) -> Tensor:
    return level * (image.max() - image.min())


def smoothgrad(
    model: nn.Module,
    image: Tensor,
    target: int,
    noise: Tensor,
    level: float,
    *,
    sigma: Callable[[Tensor, float], Tensor | float] = _sigma,
    summary: Callable[[Tensor], Tensor] = lambda gradients: gradients.mean(dim=0),
    kept: float = 1.0,
) -> Tensor:
    """The mean gradient over noisy copies; the settings exist to make mistakes with."""
    copies = kept * image + sigma(image, level) * noise  # [n, C, H, W]
    return summary(torch.stack([input_gradient(model, copy, target) for copy in copies]))


def _smoothgrad_questions(rng: np.random.Generator) -> list[Question]:
    some = _some_network(rng) | {"target": 1}
    # Not of deviation 1, or a share of the deviation could not be told from the level itself.
    some["image"] = 2 * some["image"]
    one, many = normal(rng, 1, 3, 4, 5), normal(rng, 6, 3, 4, 5)
    return [
        Question(
            "by hand: a linear network has one gradient",
            {
                "model": LINEAR,
                "image": TWO_PIXELS,
                "target": 0,
                "noise": normal(rng, 4, 2, 1, 2),
                "level": 0.2,
            },
        ),
        Question("one noisy copy", some | {"noise": one, "level": 0.3}),
        Question("six noisy copies", some | {"noise": many, "level": 0.3}),
        Question("more noise", some | {"noise": many, "level": 0.6}),
    ]


SMOOTHGRAD = on_card(
    "lab2.smoothgrad",
    solve=smoothgrad,
    questions=_smoothgrad_questions,
    mistakes=(
        Mistake(
            "sum instead of mean",
            "Your map grows with the number of copies.",
            partial(smoothgrad, summary=lambda gradients: gradients.sum(dim=0)),
            points=1,
        ),
        Mistake(
            "mean of absolute gradients",
            "You take the size of each gradient before you average. Noise has no sign then, and "
            "cannot cancel any more: that is what averaging is for.",
            partial(smoothgrad, summary=lambda gradients: gradients.abs().mean(dim=0)),
            points=1,
        ),
        Mistake(
            "mean of squared gradients",
            "You square each gradient before you average. Noise has no sign then, and cannot "
            "cancel any more: that is what averaging is for.",
            partial(smoothgrad, summary=lambda gradients: gradients.square().mean(dim=0)),
            points=1,
        ),
        Mistake(
            "level taken as the deviation",
            "The level is a *share* of the image's range, from its smallest to its largest value.",
            partial(smoothgrad, sigma=lambda image, level: level),
            points=1,
        ),
        Mistake(
            "level divided by the range",
            "A picture with a larger range must get more noise, not less.",
            partial(smoothgrad, sigma=lambda image, level: level / (image.max() - image.min())),
            points=1,
        ),
        Mistake(
            "level times the image's own deviation",
            "The level is a share of the range: largest value minus smallest. You take the "
            "image's standard deviation.",
            partial(smoothgrad, sigma=lambda image, level: level * image.std()),
            points=1,
        ),
        Mistake(
            "level times the largest value",
            "The range is the largest value *minus the smallest*.",
            partial(smoothgrad, sigma=lambda image, level: level * image.max()),
            points=1,
        ),
        Mistake(
            "noise instead of a noisy image",
            "Your copies hold noise only: where is the image?",
            partial(smoothgrad, kept=0.0),
        ),
        Mistake(
            "the gradient at the image itself",
            "Your result does not depend on the noise.",
            partial(smoothgrad, sigma=lambda image, level: 0.0),
        ),
    ),
)

# Integrated gradients


def _middles(n_steps: int) -> Tensor:
    return (torch.arange(n_steps) + 0.5) / n_steps


def integrated_gradients(
    model: nn.Module,
    image: Tensor,
    target: int,
    baseline: Tensor,
    n_steps: int,
    *,
    times: Callable[[int], Tensor] = _middles,
    factor: Callable[[Tensor, Tensor], Tensor | float] = lambda image, baseline: image - baseline,
    score: Score = _logit,
) -> Tensor:
    """The mean gradient along the way times the way; the settings exist to make mistakes with."""
    way = image - baseline
    gradients = [
        input_gradient(model, baseline + t * way, target, score=score) for t in times(n_steps)
    ]
    return (torch.stack(gradients).mean(dim=0) * factor(image, baseline)).sum(dim=0)


def _integrated_questions(rng: np.random.Generator) -> list[Question]:
    some = _some_network(rng) | {"target": 1}
    baseline = normal(rng, 3, 4, 5)
    by_hand = {"model": LINEAR, "image": TWO_PIXELS, "target": 0, "n_steps": 3}
    return [
        Question(
            "by hand: a linear network, from zero",
            by_hand | {"baseline": np.zeros_like(TWO_PIXELS)},
        ),
        Question(
            "by hand: a linear network, from another image",
            by_hand | {"baseline": numbers([[[1, 0]], [[0, 0]]])},
        ),
        Question("a random network, one step", some | {"baseline": baseline, "n_steps": 1}),
        Question("a random network, eight steps", some | {"baseline": baseline, "n_steps": 8}),
    ]


INTEGRATED_GRADIENTS = on_card(
    "lab2.integrated_gradients",
    solve=integrated_gradients,
    questions=_integrated_questions,
    mistakes=(
        Mistake(
            "without the way",
            "You averaged the gradient and stopped there. Multiplied by the way, the values add up "
            "to a change in score.",
            partial(integrated_gradients, factor=lambda image, baseline: 1.0),
            points=1,
        ),
        Mistake(
            "times the image instead of the way",
            "You multiply with the image. With another baseline than zero the values then do not "
            "add up to the change in score.",
            partial(integrated_gradients, factor=lambda image, baseline: image),
            points=2,
        ),
        Mistake(
            "the way backwards",
            "The signs are reversed: the way leads from the baseline to the image.",
            partial(integrated_gradients, factor=lambda image, baseline: baseline - image),
            points=2,
        ),
        Mistake(
            "right ends instead of midpoints",
            "The gradient is taken at the end of each step; here it is wanted in the middle.",
            partial(integrated_gradients, times=lambda n: (torch.arange(n) + 1.0) / n),
            points=2,
        ),
        Mistake(
            "left ends instead of midpoints",
            "The gradient is taken at the start of each step; here it is wanted in the middle.",
            partial(integrated_gradients, times=lambda n: torch.arange(n) / n),
            points=2,
        ),
        Mistake(
            "both ends and what lies between",
            "Your points include the baseline and the image themselves. Take the middles of "
            "`n_steps` equal steps.",
            partial(integrated_gradients, times=lambda n: torch.linspace(0, 1, n)),
            points=2,
        ),
        Mistake(
            "gradient times way, without the integral",
            "You use the gradient at the image alone.",
            partial(integrated_gradients, times=lambda n: torch.ones(n)),
            points=1,
        ),
        Mistake(
            "sum instead of mean over the steps",
            "Your map grows with the number of steps. Each step is only 1/n of the way.",
            lambda model, image, target, baseline, n_steps: (
                n_steps * integrated_gradients(model, image, target, baseline, n_steps)
            ),
            points=2,
        ),
        Mistake(
            "softmax for logit",
            "Your values add up to a change of the probability. Wanted is that of the logit.",
            partial(integrated_gradients, score=_probability),
            points=2,
        ),
    ),
)

# Occlusion


def _drop(before: Tensor, after: Tensor) -> Tensor:
    return before - after


def _shared(total: Tensor, windows: Tensor) -> Tensor:
    return total / windows


def occlusion(
    model: nn.Module,
    image: Tensor,
    target: int,
    patch: int,
    stride: int,
    *,
    score: Score = _probability,
    change: Callable[[Tensor, Tensor], Tensor] = _drop,
    shared: Callable[[Tensor, Tensor], Tensor] = _shared,
    covered: Callable[[Tensor, slice, slice], Tensor] | None = None,
) -> Tensor:
    """The mean drop over the windows on a pixel; the settings exist to make mistakes with."""
    height, width = image.shape[1:]
    total, windows = torch.zeros(height, width), torch.zeros(height, width)
    with torch.no_grad():
        before = score(model(image[None]), target)
        for top in range(0, height - patch + 1, stride):
            for left in range(0, width - patch + 1, stride):
                rows, columns = slice(top, top + patch), slice(left, left + patch)
                after = score(model((covered or _covered)(image, rows, columns)[None]), target)
                total[rows, columns] += change(before, after)
                windows[rows, columns] += 1
    return shared(total, windows)


def _covered(image: Tensor, rows: slice, columns: slice) -> Tensor:
    changed = image.clone()
    changed[:, rows, columns] = 0
    return changed


def _only_shown(image: Tensor, rows: slice, columns: slice) -> Tensor:
    changed = torch.zeros_like(image)
    changed[:, rows, columns] = image[:, rows, columns]
    return changed


def _only_red(image: Tensor, rows: slice, columns: slice) -> Tensor:
    changed = image.clone()
    changed[0, rows, columns] = 0
    return changed


def _occlusion_questions(rng: np.random.Generator) -> list[Question]:
    # Two classes with logits (x_1 + 2 x_2 + ..., 0): each window takes away its own part.
    weight = numbers([[1, 2, 0, -1, 0, 0, 0, 0], [0] * 8])
    model = Network("linear", {"out.weight": weight, "out.bias": numbers([0, 0])})
    by_hand = {"model": model, "image": numbers(np.ones((2, 1, 4))), "target": 0}
    some = {
        "model": drawn(rng, "mlp", hidden=(16, 3 * 4 * 6), out=(3, 16)),
        "image": normal(rng, 3, 4, 6),
    }
    return [
        Question("by hand: windows of one pixel", by_hand | {"patch": 1, "stride": 1}),
        Question("side by side", some | {"target": 0, "patch": 2, "stride": 2}),
        Question("windows that overlap", some | {"target": 0, "patch": 2, "stride": 1}),
        Question("another class", some | {"target": 2, "patch": 2, "stride": 1}),
        Question("large windows", some | {"target": 1, "patch": 4, "stride": 1}, hidden=True),
    ]


OCCLUSION = on_card(
    "lab2.occlusion",
    solve=occlusion,
    questions=_occlusion_questions,
    mistakes=(
        Mistake(
            "sum instead of mean over the windows",
            "Where windows overlap you add up their drops, so that the middle of the picture gets "
            "more than the border. Divide by how many windows cover a pixel.",
            partial(occlusion, shared=lambda total, windows: total),
            points=2,
        ),
        Mistake(
            "logit for softmax",
            "You compare logits. Here the drop of the *probability* is wanted.",
            partial(occlusion, score=_logit),
            points=2,
        ),
        Mistake(
            "rise instead of drop",
            "The sign is reversed: where covering lowers the probability, the map is positive.",
            partial(occlusion, change=lambda before, after: after - before),
            points=2,
        ),
        Mistake(
            "the score instead of its drop",
            "You write down the probability of the covered picture. Compare it with that of the "
            "whole one.",
            partial(occlusion, change=lambda before, after: after),
            points=1,
        ),
        Mistake(
            "size of the change",
            "Covering may also raise the probability; your map has lost the sign.",
            partial(occlusion, change=lambda before, after: (before - after).abs()),
            points=1,
        ),
        Mistake(
            "only the window shown",
            "You hide everything *but* the window.",
            partial(occlusion, covered=_only_shown),
            points=1,
        ),
        Mistake(
            "one channel covered",
            "You cover one channel; a covered pixel has lost all of its colours.",
            partial(occlusion, covered=_only_red),
            points=1,
        ),
        Mistake(
            "windows at every pixel",
            "Your windows stand at every pixel, whatever `stride` says.",
            lambda model, image, target, patch, stride: occlusion(model, image, target, patch, 1),
            points=2,
        ),
    ),
)

EXERCISES = (
    INPUT_GRADIENT,
    SENSITIVITY,
    SALIENCY,
    SMOOTHGRAD,
    INTEGRATED_GRADIENTS,
    OCCLUSION,
    on_card("lab2.q1"),
)
