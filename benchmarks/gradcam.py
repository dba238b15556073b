"""Grad-CAM, ours and three libraries', and FEM, in units of one bare forward pass.

The limit is one forward pass: only what lies above the layer has to be differentiated. FEM, of
which we know no other implementation in a library, differentiates nothing.
"""

from __future__ import annotations

import copy
from functools import partial

from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM as GradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from torchcam.methods import GradCAM

from benchmarks import timing
from benchmarks.forward import passes
from benchmarks.timing import Promise, Workload, random_image, repeated
from labkit.engine.hooks import find_layer
from labkit.explain import fem, gradcam
from labkit.models import last_conv, load_model

TIMES = {"minivgg": 8, "resnet18": 4, "resnet50": 2, "vgg16": 1}


def maps(network: str) -> Workload:
    """One picture, one map."""
    model, image = load_model(network, weights="random"), random_image()
    name = last_conv(model)
    captums = LayerGradCam(model, find_layer(model, name))
    target = [ClassifierOutputTarget(1)]
    # Copies, as these two leave hooks in the network, which the other ways would have to serve.
    others, another = copy.deepcopy(model), copy.deepcopy(model)
    torchcams = GradCAM(others, find_layer(others, name), input_shape=image.shape)
    grad_cams = GradCam(another, [find_layer(another, name)])

    def torchcams_map() -> Tensor:
        return torchcams(1, others(image[None].clone().requires_grad_()), normalized=False)[0]

    ways = {
        "one forward pass": lambda: passes(model, image, 1, 1),
        "gradcam": lambda: gradcam(model, image, 1, layer=name),
        "fem": lambda: fem(model, image, layer=name),
        "captum's LayerGradCam": lambda: captums.attribute(image[None].clone(), target=1),
        "torchcam's GradCAM": torchcams_map,
        "pytorch-grad-cam's GradCAM": lambda: grad_cams(image[None].clone(), target),
    }
    n = TIMES[network]
    ways = {way: repeated(run, n) for way, run in ways.items()}
    ours, times = ["gradcam", "fem"], dict.fromkeys(ways, n)
    promises = [Promise("gradcam", "one forward pass", at_most=1.3)]
    return Workload("Grad-CAM and FEM", network, ways, ours, promises, times)


measurements = partial(timing.measurements, {maps: tuple(TIMES)})

if __name__ == "__main__":
    timing.main(measurements)
