"""Lab 2: gradients of a class score with respect to the pixels, their averages, and occlusion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Question, normal, numbers
from labkit.selfcheck.networks import Network, drawn

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


def input_gradient(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """dY/dx, Y the logit of the target."""
    x = image.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x[None])[0, target], x)
    return gradient


INPUT_GRADIENT = on_card(
    "lab2.input_gradient",
    solve=input_gradient,
    questions=_explained,
    slips={
        "softmax for logit": 1,
        "logarithm of the probability for logit": 1,
        "loss for logit": 1,
        "the winning class instead of the target": 1,
        "all classes at once": 1,
        "sign lost": 1,
        "too many dimensions": 1,
    },
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
    mistakes={
        0: {
            "square of the sum": (
                "You add up the channels and square then: plus and minus cancel. Square first.",
                lambda gradient: gradient.sum(dim=0).square(),
            ),
            "absolute values instead of squares": (
                "You add up absolute values. Which power makes large values stand out?",
                lambda gradient: gradient.abs().sum(dim=0),
            ),
            "the largest channel instead of the sum": (
                "You keep one channel of each pixel. In a length all of them count.",
                lambda gradient: gradient.square().amax(dim=0),
            ),
            "summed over the wrong dimension": (
                "The channels are the first dimension of [C, H, W]; you added up over the last.",
                lambda gradient: gradient.square().sum(dim=-1),
            ),
        },
    },
)


def saliency(gradient: Tensor) -> Tensor:
    """The largest absolute gradient among the channels."""
    return gradient.abs().amax(dim=0)


SALIENCY = on_card(
    "lab2.saliency",
    solve=saliency,
    questions=_gradient_questions,
    mistakes={
        0: {
            "no absolute value": (
                "A strongly negative derivative matters as much as a positive one. Compare "
                "absolute values.",
                lambda gradient: gradient.amax(dim=0),
            ),
            "absolute value after the maximum": (
                "You pick the channel first and take its absolute value afterwards. A strongly "
                "negative channel is already lost by then.",
                lambda gradient: gradient.amax(dim=0).abs(),
            ),
            "mean over the channels": (
                "You average the channels. Simonyan et al. keep one of them: which?",
                lambda gradient: gradient.abs().mean(dim=0),
            ),
            "sum over the channels": (
                "You add up the channels. Simonyan et al. keep one of them: which?",
                lambda gradient: gradient.abs().sum(dim=0),
            ),
            "maximum over the wrong dimension": (
                "The channels are the first dimension of [C, H, W]; you searched along the last.",
                lambda gradient: gradient.abs().amax(dim=-1),
            ),
        },
    },
)

# SmoothGrad


def _gradients(model: nn.Module, images: Tensor, target: int) -> Tensor:
    return torch.stack([input_gradient(model, one, target) for one in images])  # [n, C, H, W]


def _range(image: Tensor) -> Tensor:
    return image.max() - image.min()


def smoothgrad(model: nn.Module, image: Tensor, target: int, noise: Tensor, level: float) -> Tensor:
    """The mean gradient over noisy copies; the noise's deviation is a share of the range."""
    return _gradients(model, image + level * _range(image) * noise, target).mean(dim=0)


def _mean_of(size: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A wrong `smoothgrad` that averages a size of the gradients."""
    return lambda model, image, target, noise, level: size(
        _gradients(model, image + level * _range(image) * noise, target)
    ).mean(dim=0)


def _at_level(other: Callable[[Tensor, float], Tensor | float]) -> Callable[..., Tensor]:
    """A wrong `smoothgrad` with another level of noise."""
    return lambda image, level, **others: smoothgrad(
        image=image, level=other(image, level), **others
    )


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
    slips={"sum instead of mean": 1},
    mistakes={
        1: {
            "mean of absolute gradients": (
                "You take absolute gradients before you average. Noise then has no sign and "
                "cannot cancel.",
                _mean_of(torch.abs),
            ),
            "mean of squared gradients": (
                "You square the gradients before you average. Noise then has no sign and cannot "
                "cancel.",
                _mean_of(torch.square),
            ),
            "level taken as the deviation": (
                "The level is a *share* of the image's range, from its smallest to its largest "
                "value.",
                _at_level(lambda image, level: level / _range(image)),
            ),
            "level divided by the range": (
                "A picture with a larger range must get more noise, not less.",
                _at_level(lambda image, level: level / _range(image) ** 2),
            ),
            "level times the image's own deviation": (
                "The level is a share of the range: largest value minus smallest. You take the "
                "image's standard deviation.",
                _at_level(lambda image, level: level * image.std() / _range(image)),
            ),
            "level times the largest value": (
                "The range is the largest value *minus the smallest*.",
                _at_level(lambda image, level: level * image.max() / _range(image)),
            ),
        },
        0: {
            "noise instead of a noisy image": (
                "Your copies are only noise. Add it to the image.",
                lambda model, image, target, noise, level: _gradients(
                    model, level * _range(image) * noise, target
                ).mean(dim=0),
            ),
        },
    },
)

# Integrated gradients


def _mean_gradient(
    model: nn.Module, image: Tensor, target: int, baseline: Tensor, times: Tensor
) -> Tensor:
    """Over points on the way from the baseline (t = 0) to the image (t = 1)."""
    points = baseline + times[:, None, None, None] * (image - baseline)
    return _gradients(model, points, target).mean(dim=0)


def _middles(n_steps: int) -> Tensor:
    return (torch.arange(n_steps) + 0.5) / n_steps


def integrated_gradients(
    model: nn.Module, image: Tensor, target: int, baseline: Tensor, n_steps: int
) -> Tensor:
    """The way from the baseline times the mean gradient on it, summed over the channels."""
    gradient = _mean_gradient(model, image, target, baseline, _middles(n_steps))
    return ((image - baseline) * gradient).sum(dim=0)


def _at(times: Callable[[int], Tensor]) -> Callable[..., Tensor]:
    """A wrong `integrated_gradients` with other points on the way."""
    return lambda model, image, target, baseline, n_steps: (
        (image - baseline) * _mean_gradient(model, image, target, baseline, times(n_steps))
    ).sum(dim=0)


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
    slips={"opposite sign": 2, "sum instead of mean": 2, "softmax for logit": 2},
    mistakes={
        2: {
            "times the image instead of the way": (
                "You multiply by the image. Unless the baseline is zero, the values then do not "
                "add up to the change in score.",
                lambda image, n_steps, **others: (
                    image * _mean_gradient(image=image, times=_middles(n_steps), **others)
                ).sum(dim=0),
            ),
            "right ends instead of midpoints": (
                "You take the gradient at the end of each step. Take it in the middle.",
                _at(lambda n: (torch.arange(n) + 1.0) / n),
            ),
            "left ends instead of midpoints": (
                "You take the gradient at the start of each step. Take it in the middle.",
                _at(lambda n: torch.arange(n) / n),
            ),
            "both ends and what lies between": (
                "Your points include the baseline and the image themselves. Take the middles of "
                "`n_steps` equal steps.",
                _at(lambda n: torch.linspace(0, 1, n)),
            ),
        },
        1: {
            "without the way": (
                "You averaged the gradients and stopped there. Multiply by the way from baseline "
                "to image.",
                lambda n_steps, **others: _mean_gradient(times=_middles(n_steps), **others).sum(
                    dim=0
                ),
            ),
            "gradient times way, without the integral": (
                "You use the gradient at the image alone.",
                _at(torch.ones),
            ),
        },
    },
)

# Occlusion


def _windows(image: Tensor, patch: int, stride: int) -> Tensor:
    """1 inside each window, [n, H, W]."""
    height, width = image.shape[1:]
    tops = range(0, height - patch + 1, stride)
    corners = [(top, left) for top in tops for left in range(0, width - patch + 1, stride)]
    windows = torch.zeros(len(corners), height, width)
    for window, (top, left) in zip(windows, corners, strict=True):
        window[top : top + patch, left : left + patch] = 1
    return windows


@torch.no_grad()
def _probabilities(model: nn.Module, images: Tensor, target: int) -> Tensor:
    return model(images).softmax(dim=1)[:, target]  # [n]


def _mean_over(windows: Tensor, values: Tensor) -> Tensor:
    """At each pixel, the mean value of the windows on it."""
    return torch.einsum("n,nhw->hw", values, windows) / windows.sum(dim=0)


def occlusion(model: nn.Module, image: Tensor, target: int, patch: int, stride: int) -> Tensor:
    """The mean drop in probability over the windows on a pixel."""
    windows = _windows(image, patch, stride)
    whole = _probabilities(model, image[None], target)
    covered = _probabilities(model, image * (1 - windows[:, None]), target)
    return _mean_over(windows, whole - covered)


@torch.no_grad()
def _drop_of_logits(
    model: nn.Module, image: Tensor, target: int, patch: int, stride: int
) -> Tensor:
    windows = _windows(image, patch, stride)
    covered = model(image * (1 - windows[:, None]))[:, target]
    return _mean_over(windows, model(image[None])[:, target] - covered)


def _wrong_drop(
    hidden: Callable[[Tensor, Tensor], Tensor], change: Callable[[Tensor, Tensor], Tensor]
) -> Callable[..., Tensor]:
    """A wrong `occlusion` that hides other pixels, or compares in another way."""

    def wrong(model: nn.Module, image: Tensor, target: int, patch: int, stride: int) -> Tensor:
        windows = _windows(image, patch, stride)
        whole = _probabilities(model, image[None], target)
        after = _probabilities(model, hidden(image, windows[:, None]), target)
        return _mean_over(windows, change(whole, after))

    return wrong


def _covered(image: Tensor, windows: Tensor) -> Tensor:
    return image * (1 - windows)


def _one_channel_covered(image: Tensor, windows: Tensor) -> Tensor:
    return torch.cat([_covered(image[:1], windows), image[1:].expand(len(windows), -1, -1, -1)], 1)


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
    slips={"opposite sign": 2, "stride left out": 2},
    mistakes={
        2: {
            "sum instead of mean over the windows": (
                "You add up the drops where windows overlap. Divide by the number of windows that "
                "cover a pixel.",
                lambda image, patch, stride, **others: (
                    occlusion(image=image, patch=patch, stride=stride, **others)
                    * _windows(image, patch, stride).sum(dim=0)
                ),
            ),
            "logit for softmax": (
                "You compare logits. Return the drop of the *probability*.",
                _drop_of_logits,
            ),
        },
        1: {
            "the score instead of its drop": (
                "You return the probability of the covered picture. Compare it with that of the "
                "whole picture.",
                _wrong_drop(_covered, lambda whole, after: after),
            ),
            "size of the change": (
                "Covering may also raise the probability. Keep the sign of the change.",
                _wrong_drop(_covered, lambda whole, after: (whole - after).abs()),
            ),
            "only the window shown": (
                "You hide everything *but* the window.",
                _wrong_drop(torch.mul, torch.sub),
            ),
            "one channel covered": (
                "You cover one channel. A covered pixel loses all of its channels.",
                _wrong_drop(_one_channel_covered, torch.sub),
            ),
        },
    },
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
