"""Occlusion, patch 32 and stride 14: incremental, on whole pictures, and captum's.

Whole pictures, in our fastest layout and batch size, are the limit that incremental occlusion goes
below. On VGG-16, whose whole pictures alone take most of a minute, captum is left out.
"""

from __future__ import annotations

import importlib
from functools import partial
from unittest.mock import patch

import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.timing import Promise, Workload, random_image
from labkit.explain import occlusion
from labkit.models import load_model

questions = importlib.import_module("labkit.engine.questions")


def on_whole_pictures(model: nn.Module, image: Tensor) -> Tensor:
    """The same map, as for networks where nothing can be saved."""
    with patch.object(questions, "stages_of", lambda *_: []):
        return occlusion(model, image, 1)


def captums(model: nn.Module, image: Tensor, at_once: int) -> Tensor:
    """captum's, of the same windows."""
    windows = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 14, 14)}
    with torch.no_grad():
        return Occlusion(model).attribute(
            image[None], target=1, perturbations_per_eval=at_once, **windows
        )


def occluded(network: str) -> Workload:
    """All windows of one picture."""
    model, image = load_model(network, weights="random"), random_image()
    ways = {
        "whole pictures": partial(on_whole_pictures, model, image),
        "incremental": partial(occlusion, model, image, 1),
    }
    promises = []
    if network == "vgg16":
        promises = [Promise("whole pictures", "incremental", at_least=3.5)]
    elif network == "minivgg":
        peers = {f"captum, {n} at once": partial(captums, model, image, n) for n in (8, 1)}
        ways |= peers
        promises = [Promise(name, "incremental", at_least=6) for name in peers]
    return Workload("Occlusion", network, ways, list(ways)[:2], promises)


measurements = partial(timing.measurements, {occluded: ("minivgg", "resnet18", "vgg16")})

if __name__ == "__main__":
    timing.main(measurements)
