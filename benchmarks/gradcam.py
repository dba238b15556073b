"""Grad-CAM in units of one bare forward pass, ours and three libraries'.

The limit is one forward pass: only what lies above the layer has to be differentiated. Run it as
`python -m benchmarks.gradcam`; the extra `conformance` brings captum and torchcam, and
pytorch-grad-cam takes part where it is installed (`pip install grad-cam`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torchcam.methods import GradCAM

from benchmarks.gradients import passes
from benchmarks.timing import machine, measure, table
from labkit.explain import gradcam
from labkit.explain.hooks import find_layer
from labkit.models import last_conv, load_model

TIMES = 8


def grad_cams(network: nn.Module, image: Tensor, layer: nn.Module) -> dict[str, Callable]:
    """pytorch-grad-cam, where it is installed."""
    if importlib.util.find_spec("pytorch_grad_cam") is None:
        return {}
    from pytorch_grad_cam import GradCAM as GradCam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    explainer = GradCam(network, [layer])

    def explain() -> object:
        return explainer(image[None].clone().requires_grad_(), [ClassifierOutputTarget(1)])

    return {"pytorch-grad-cam": lambda: [explain() for _ in range(TIMES)]}


def compare(model: nn.Module) -> None:
    """Print a table."""
    image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))
    name = last_conv(model)
    layer = find_layer(model, name)
    captums = LayerGradCam(model, layer)
    torchcams = GradCAM(model, target_layer=layer, input_shape=(3, 224, 224))

    def torchcams_map() -> Tensor:
        scores = model(image[None].clone().requires_grad_())
        return torchcams(1, scores, normalized=False)[0]

    ways = {
        "one forward pass": lambda: passes(model, image, TIMES, 1),
        "gradcam": lambda: [gradcam(model, image, 1, layer=name) for _ in range(TIMES)],
        "captum": lambda: [captums.attribute(image[None].clone(), target=1) for _ in range(TIMES)],
        "torchcam": lambda: [torchcams_map() for _ in range(TIMES)],
        **grad_cams(model, image, layer),
    }
    print(table(measure(ways, 7), "one forward pass"))


def main() -> None:
    """Print a table for each network."""
    print(machine("captum", "torchcam"))
    for name in ("minivgg", "resnet18", "vgg16"):
        print(f"\n{name}")
        compare(load_model(name, weights="random"))


if __name__ == "__main__":
    main()
