"""The one registry of methods: what labkit knows of each beyond the function itself.

    explainer("rise", model)(model, image, target, n_masks=500)

`evaluate`, the cost forecast, the workbench, the dashboard, the tests and the docs read it. Another
method is another record here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, signature
from typing import Any, NamedTuple

from torch import Tensor, nn

from labkit import explain
from labkit.checks import check_choice
from labkit.engine.contract import settings_of
from labkit.engine.windows import window_intervals
from labkit.metrics import baselines
from labkit.models import last_maps

Explainer = Callable[..., Tensor]

# What a method needs of the model: feature maps at a layer, a gradient, or only the probabilities,
# which any function can give; or nothing, for maps that know the picture alone.
MAPS, GRADIENT, PROBABILITIES, NOTHING = "feature maps", "gradient", "probabilities", "nothing"


class Passes(NamedTuple):
    """Images that go through a network: forward only, and forward and back."""

    forward: int = 0
    gradient: int = 0


class Setting(NamedTuple):
    """A setting that a control can move."""

    label: str
    value: float  # where the control starts; a whole number for a setting that takes only those
    minimum: float
    maximum: float
    step: float
    unit: str = ""


class Options(NamedTuple):
    """A setting with a few named values."""

    label: str
    options: tuple[str, ...]
    value: str  # where the control starts


def _once(settings: Mapping[str, Any], image: Tensor) -> int:
    return 1


def _set_by(name: str) -> Callable[[Mapping[str, Any], Tensor], int]:
    """As often as this setting says."""
    return lambda settings, image: settings[name]


def _windows(settings: Mapping[str, Any], image: Tensor) -> int:
    """One for each window, and one for the picture itself."""
    sides = zip(*(_pair(settings[name]) for name in ("patch", "stride")), strict=True)
    down, across = (
        len(window_intervals(side, *window))
        for side, window in zip(image.shape[1:], sides, strict=True)
    )
    return 1 + down * across


def _pair(setting: int | tuple[int, int]) -> tuple[int, int]:
    return setting if isinstance(setting, tuple) else (setting, setting)


@dataclass(frozen=True)
class Method:
    """What is known of one method.

    Attributes:
        name: in tables and on the command line.
        title: for readers, with the lab that explains it.
        explain: `explain(model, image, target, **settings)` -> `[H, W]`.
        needs: of the model: `MAPS`, `GRADIENT`, `PROBABILITIES` or `NOTHING`.
        settings: those worth a control, by name.
        times: how often an image goes through the model for what the method needs, from all
            settings by name and the image `[C, H, W]`.
    """

    name: str
    title: str
    explain: Explainer
    needs: str
    settings: Mapping[str, Setting | Options] = field(default_factory=dict)
    times: Callable[[Mapping[str, Any], Tensor], int] = _once

    def explainer(self, model: nn.Module) -> Explainer:
        """The method with the layer bound that it reads in this network, if it reads one.

        Raises:
            ValueError: the method needs feature maps, and the network has none.
        """
        return partial(self.explain, layer=last_maps(model)) if self.needs == MAPS else self.explain

    @property
    def scale(self) -> float:
        """Of the numbers that its maps are computed from, for `labkit.metrics.note`."""
        return 1.0 if self.needs == PROBABILITIES else 0.0

    def cost(self, settings: Mapping[str, object], image: Tensor) -> Passes:
        """The passes of a run with these settings, the others at their defaults."""
        if self.needs == NOTHING:
            return Passes()
        parameters = signature(self.explain).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
        n = self.times(defaults | dict(settings), image)
        return Passes(gradient=n) if self.needs == GRADIENT else Passes(forward=n)


def biased_sensitivity(
    model: nn.Module, image: Tensor, target: int, *, gamma: float = 0.25, rule: str = "ratio"
) -> Tensor:
    """`sensitivity` of the network that `biased` makes: `[H, W]`, not negative."""
    return explain.sensitivity(explain.biased(model, gamma, rule), image, target)


@settings_of(explain.learn_perturbation)
def perturbation(model: nn.Module, image: Tensor, target: int, **settings: Any) -> Tensor:
    """The `perturbation_map` of what `learn_perturbation` learns: `[H, W]`, not negative."""
    return explain.perturbation_map(explain.learn_perturbation(model, image, target, **settings))


def _centre(model: nn.Module, image: Tensor, target: int) -> Tensor:
    return baselines.centre_gaussian(image.shape[1:]).to(image.device)


def _uniform(model: nn.Module, image: Tensor, target: int) -> Tensor:
    return baselines.uniform(image.shape[1:]).to(image.device)


def _random(model: nn.Module, image: Tensor, target: int, *, seed: int = 0) -> Tensor:
    return baselines.random_map(image.shape[1:], seed=seed).to(image.device)


def _edges(model: nn.Module, image: Tensor, target: int) -> Tensor:
    return baselines.edges(image)


RECORDS = (
    Method("gradcam", "Grad-CAM (lab 4)", explain.gradcam, MAPS),
    Method("hirescam", "HiResCAM", explain.hirescam, MAPS),
    Method(
        "fem",
        "FEM (lab 4)",
        explain.fem,
        MAPS,
        {"k": Setting("Standard deviations k", 2.0, 0.0, 4.0, 0.25)},
    ),
    Method("sensitivity", "squared gradient (lab 2)", explain.sensitivity, GRADIENT),
    Method("saliency", "saliency (lab 2)", explain.saliency, GRADIENT),
    Method(
        "gradient_times_input", "gradient x input (lab 2)", explain.gradient_times_input, GRADIENT
    ),
    Method(
        "smoothgrad",
        "SmoothGrad (lab 2)",
        partial(explain.smoothgrad, explain=explain.sensitivity),
        GRADIENT,
        {
            "n_samples": Setting("Noisy copies", 25, 2, 200, 1),
            "noise": Setting("Noise", 0.15, 0.0, 0.6, 0.05),
        },
        times=_set_by("n_samples"),
    ),
    Method(
        "integrated_gradients",
        "integrated gradients (lab 2)",
        explain.integrated_gradients,
        GRADIENT,
        {"n_steps": Setting("Steps", 50, 5, 300, 5)},
        times=_set_by("n_steps"),
    ),
    Method(
        "occlusion",
        "occlusion (lab 2)",
        explain.occlusion,
        PROBABILITIES,
        {
            "patch": Setting("Patch", 32, 4, 112, 4, "pixels"),
            "stride": Setting("Stride", 14, 2, 56, 2, "pixels"),
        },
        times=_windows,
    ),
    Method(
        "biased",
        "biased gradient (lab 3)",
        biased_sensitivity,
        GRADIENT,
        {
            "gamma": Setting("Gamma", 0.25, 0.0, 2.0, 0.05),
            "rule": Options("Rule", ("ratio", "straight-through"), "ratio"),
        },
    ),
    Method(
        "rise",
        "RISE (lab 5)",
        explain.rise,
        PROBABILITIES,
        {
            "n_masks": Setting("Masks", 500, 50, 4000, 50),
            "cells": Setting("Cells", 8, 2, 16, 1),
            "p": Setting("Share shown p", 0.5, 0.05, 0.95, 0.05),
        },
        times=_set_by("n_masks"),
    ),
    Method(
        "lime",
        "LIME (lab 5)",
        explain.lime,
        PROBABILITIES,
        {"n_samples": Setting("Samples", 300, 50, 2000, 50)},
        times=_set_by("n_samples"),
    ),
    Method(
        "perturbation",
        "learned perturbation (lab 7)",
        perturbation,
        GRADIENT,
        {
            "steps": Setting("Steps", 200, 20, 1000, 20),
            "l1": Setting("Cost of a change", 0.03, 0.0, 1.0, 0.01),
        },
        times=_set_by("steps"),
    ),
    Method(
        "mask",
        "learned mask (lab 7)",
        explain.learn_mask,
        GRADIENT,
        {
            "steps": Setting("Steps", 100, 20, 500, 20),
            "area": Setting("Cost of the area", 0.3, 0.0, 2.0, 0.05),
        },
        times=_set_by("steps"),
    ),
    Method("centre", "centre (asks no network)", _centre, NOTHING),
    Method("uniform", "uniform map (asks no network)", _uniform, NOTHING),
    Method("random", "random map (asks no network)", _random, NOTHING),
    Method("edges", "edge detector (asks no network)", _edges, NOTHING),
)
REGISTRY: Mapping[str, Method] = {method.name: method for method in RECORDS}


def explainer(name: str, model: nn.Module) -> Explainer:
    """A method by its name: `explain(model, image, target, **settings)` -> `[H, W]`.

    Args:
        name: of a record in `REGISTRY`.
        model: the network to explain; it decides which layer is read.

    Raises:
        ValueError: there is no such method, or it needs feature maps and the network has none.
    """
    check_choice("method", name, REGISTRY)
    return REGISTRY[name].explainer(model)
