"""EfficientNet-Lite0, the network with ImageNet's classes that comes with labkit.

Its forward pass in labkit's layout and in torch's own; occlusion on whole pictures, the limit, and
incremental; RISE and `many` on 16 images in units of their bare passes, beside one call each.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.forward import LAYOUTS, bare, passes, with_a_photograph
from benchmarks.occlusion import on_whole_pictures
from benchmarks.timing import Promise, Workload
from labkit.engine.batches import choose_batch_size
from labkit.explain import fem, gradcam, many, occlusion, rise, saliency
from labkit.models import last_maps

N_MASKS = 500
N_IMAGES = 16
METHODS = {"saliency": saliency, "gradcam": gradcam, "fem": fem}


def layouts(network: str) -> Workload:
    """A batch of the usual size, frozen and without gradients."""
    loaded, image = with_a_photograph(network)
    size, ways = choose_batch_size(image), {}
    for layout, memory_format in LAYOUTS.items():
        model = copy.deepcopy(loaded).to(memory_format=memory_format)
        images = image.expand(size, -1, -1, -1).contiguous(memory_format=memory_format)
        ways[f"{layout}, {size} at once"] = partial(bare, model, images)
    times = dict.fromkeys(ways, size)
    return Workload("One forward pass", network, ways, [next(iter(ways))], times=times, repeats=15)


def occluded(network: str) -> Workload:
    """All windows of one picture."""
    model, image = with_a_photograph(network)
    ways = {
        "whole pictures": partial(on_whole_pictures, model, image),
        "incremental": partial(occlusion, model, image, 1),
    }
    promises = [Promise("whole pictures", "incremental", at_least=1.3)]
    return Workload("Occlusion", network, ways, list(ways), promises)


def rises(network: str) -> Workload:
    """One map from N masks."""
    model, image = with_a_photograph(network)
    limit = f"{N_MASKS} forward passes"
    ways = {
        limit: partial(passes, model, image, N_MASKS, choose_batch_size(image)),
        "rise": partial(rise, model, image, 1, n_masks=N_MASKS),
    }
    promises = [Promise("rise", limit, at_most=1.1)]
    return Workload(f"RISE, {N_MASKS} masks", network, ways, ["rise"], promises)


def of_many(name: str, network: str) -> Workload:
    """A map for each of several images; Grad-CAM and FEM need forward passes alone."""
    model, image = with_a_photograph(network)
    brightness = torch.linspace(0.5, 1, N_IMAGES)[:, None, None, None]
    images, method = brightness * image, METHODS[name]
    size = choose_batch_size(image)
    ways = {"bare passes": partial(passes, model, image, N_IMAGES, size)}
    if name == "saliency":
        ways = {"bare passes": partial(gradients, model, images, size)}
    else:
        method = partial(method, layer=last_maps(model))
    ways["one call each"] = lambda: torch.stack([method(model, one, 1) for one in images])
    ways["many"] = partial(many, method, model, images, 1)
    promises = [Promise("many", "bare passes", at_most=1.1)]
    workload = f"Many: {name} of {N_IMAGES} images"
    return Workload(workload, network, ways, ["one call each", "many"], promises, repeats=9)


def gradients(model: nn.Module, images: Tensor, size: int) -> None:
    """Bare forward and backward passes in our layout, from the image to the logit of class 1."""
    for some in images.split(size):
        start = some.contiguous(memory_format=torch.channels_last).requires_grad_()
        torch.autograd.grad(model(start)[:, 1].sum(), start)


BUILDS = (layouts, occluded, rises, *(partial(of_many, name) for name in METHODS))
measurements = partial(timing.measurements, dict.fromkeys(BUILDS, ("efficientnet_lite0",)))

if __name__ == "__main__":
    timing.main(measurements)
