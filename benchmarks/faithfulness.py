"""Deletion and insertion in units of their own forward passes.

48 steps, 7 pictures at a time. The limit is the forward passes, in our layout. The authors' way
(CausalMetric) is written afresh from their definition: one picture after the other, changed in
place. Quantus' pixel flipping computes no first point, and flips channels apart. Both curves stand
beside torchcam's: on noise, and on a photograph in the definition's 224 steps, 8 at a time.

torchcam computes both curves at once, and its Grad-CAM is part of its time. The picture itself and
the one in which all is replaced are on both curves: it sees each once, we see them twice, 99
pictures to its 96 in 48 steps.
"""

from __future__ import annotations

import copy
from functools import partial
from itertools import count

import numpy as np
import quantus
import torch
from torch import Tensor, nn
from torchcam.methods import GradCAM
from torchcam.metrics import DeletionInsertionMetric

from benchmarks import timing
from benchmarks.forward import passes, with_a_photograph
from benchmarks.timing import Promise, Ways, Workload, random_image
from labkit.engine.batches import choose_batch_size
from labkit.engine.hooks import find_layer
from labkit.explain import gradcam
from labkit.metrics import deletion, insertion
from labkit.models import last_conv, load_model

S = 48
SIZE = 7  # seven batches are the 49 pictures of a curve
STEP = -(-224 * 224 // S)
REPEATS = 15  # of what is over in a second


def class_with_a_map(model: nn.Module, image: Tensor, layer: str) -> int:
    """The first class whose Grad-CAM is not 0 everywhere; torchcam leaves such maps out."""
    return next(k for k in count() if gradcam(model, image, k, layer=layer).any())


def authors_deletion(model: nn.Module, image: Tensor, relevance: Tensor, target: int) -> np.ndarray:
    """The scores of `deletion`, as the authors' code gets them."""
    start, finish = image[None].clone(), torch.zeros_like(image)
    order = np.flip(np.argsort(relevance.numpy().ravel())).copy()
    scores = np.empty(S + 1)
    with torch.no_grad():
        for s in range(S + 1):
            scores[s] = model(start).softmax(dim=1)[0, target].item()
            pixels = order[STEP * s : STEP * (s + 1)]
            start.view(3, -1)[:, pixels] = finish.view(3, -1)[:, pixels]
    return scores


def quantus_flipping(model: nn.Module, image: Tensor, relevance: Tensor, target: int) -> object:
    """Quantus' pixel flipping in as many steps."""
    metric = quantus.PixelFlipping(
        features_in_step=image.numel() // S,
        normalise=False,
        perturb_baseline=0.0,
        disable_warnings=True,
    )
    batch = {"x_batch": image[None].numpy(), "a_batch": relevance[None, None].numpy()}
    batch["y_batch"] = np.array([target])
    return metric(model, softmax=True, device="cpu", **batch)


def one_curve(network: str) -> Workload:
    """Ways to one curve of a given map."""
    model, image = load_model(network, weights="random"), random_image()
    k = class_with_a_map(model, image, last_conv(model))
    relevance = gradcam(model, image, k, layer=last_conv(model))
    settings, bare = {"step": STEP, "batch_size": SIZE}, f"{S + 1} forward passes"
    ways = {
        bare: lambda: passes(model, image, S + 1, SIZE),
        "deletion": lambda: deletion(model, image, relevance, k, **settings),
        "insertion": lambda: insertion(model, image, relevance, k, **settings),
        "the authors' way": lambda: authors_deletion(model, image, relevance, k),
        "Quantus' PixelFlipping": lambda: quantus_flipping(model, image, relevance, k),
    }
    ours = ["deletion", "insertion"]
    promises = [Promise(way, bare, at_most=1.1) for way in ours]
    promises += [Promise(peer, "deletion", at_least=1.0) for peer in list(ways)[3:]]
    name = "Deletion or insertion"
    return Workload(name, network, ways, ours, promises, repeats=REPEATS)


def both_curves_of_noise(network: str) -> Workload:
    """Both curves where no picture shares much with the one before."""
    case = load_model(network, weights="random"), random_image()
    name, parts = "Grad-CAM and both curves, noise", both_curves(*case, S, SIZE)
    return Workload(name, network, *parts, repeats=REPEATS)


def both_curves_of_a_photograph(network: str) -> Workload:
    """Both curves as a reader would have them."""
    case = with_a_photograph(network)
    size = choose_batch_size(case[1])
    return Workload("Grad-CAM and both curves, photograph", network, *both_curves(*case, 224, size))


def both_curves(
    model: nn.Module, image: Tensor, n_steps: int, size: int
) -> tuple[Ways, list[str], list[Promise]]:
    """Ways to Grad-CAM and both of its curves, from grey; which are ours, and what must hold."""
    layer = last_conv(model)
    k = class_with_a_map(model, image, layer)
    hooked = copy.deepcopy(model)  # torchcam's hooks are not for the other ways to serve
    extractor = GradCAM(hooked, find_layer(hooked, layer), input_shape=image.shape)

    def ours() -> None:
        relevance = gradcam(model, image, k, layer=layer)
        for metric in (deletion, insertion):
            metric(model, image, relevance, k, n_steps=n_steps, baseline=0.0, batch_size=size)

    def torchcams() -> dict[str, float]:
        softmax = partial(torch.softmax, dim=-1)
        metric = DeletionInsertionMetric(extractor, softmax, steps=n_steps, batch_size=size)
        metric.update(image[None].clone(), k)
        return metric.summary()

    n_passes = 2 * (n_steps + 1)
    ways = {
        f"{n_passes} forward passes": lambda: passes(model, image, n_passes, size),
        "gradcam, deletion, insertion": ours,
        "torchcam's metric": torchcams,
    }
    _, our, peer = ways
    return ways, [our], [Promise(peer, our, at_least=1.0)]


NETWORKS = ("minivgg", "resnet18")
CURVES = (one_curve, both_curves_of_noise, both_curves_of_a_photograph)
BUILDS = dict.fromkeys(CURVES, NETWORKS)
measurements = partial(timing.measurements, BUILDS)

if __name__ == "__main__":
    timing.main(measurements)
