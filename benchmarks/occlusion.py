"""Occlusion (patch 32, stride 14): incremental, on whole pictures, and captum's.

Whole pictures in our fastest layout and batch size are the limit that incremental occlusion goes
below. Run it as `python -m benchmarks.occlusion`; the extra `conformance` brings captum.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from benchmarks.timing import machine, measure, table
from labkit.explain import occlusion
from labkit.models import load_model

module = importlib.import_module("labkit.explain.occlusion")


def on_whole_pictures(model: nn.Module, image: Tensor) -> Tensor:
    """The same map, as for networks where nothing can be saved."""
    with patch.object(module, "stages_of", lambda *_: []):
        return occlusion(model, image, 1)


def captums(model: nn.Module, image: Tensor, at_once: int) -> Tensor:
    """captum's, of the same windows."""
    windows = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 14, 14)}
    with torch.no_grad():
        return Occlusion(model).attribute(
            image[None], target=1, perturbations_per_eval=at_once, **windows
        )


def ways(model: nn.Module, *, captum: bool) -> dict[str, Callable[[], Tensor]]:
    """What is compared on one network."""
    image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))
    compared = {
        "incremental": partial(occlusion, model, image, 1),
        "whole pictures": partial(on_whole_pictures, model, image),
    }
    if captum:
        compared["captum, one at a time (default)"] = partial(captums, model, image, 1)
        compared["captum, 8 at a time"] = partial(captums, model, image, 8)
    return compared


def main() -> None:
    """Print a table for each network."""
    print(machine("captum"))
    for name, repeats, captum in (("minivgg", 5, True), ("vgg16", 5, False)):
        model = load_model(name, weights="random")
        compared = ways(model, captum=captum)
        incremental, whole = (compared[way]() for way in ("incremental", "whole pictures"))
        print(f"\n{name}: maps differ by {(incremental - whole).abs().max().item():.0e}")
        print(table(measure(compared, repeats), "incremental"))


if __name__ == "__main__":
    main()
