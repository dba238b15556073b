"""One gradient, and SmoothGrad with 50 samples, in units of bare forward passes.

The limit is a forward pass and the gradient of the input, which costs about as much again. captum
takes as many samples at once as we do, zennit one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn
from zennit.attribution import Gradient, SmoothGrad

from benchmarks import timing
from benchmarks.forward import passes
from benchmarks.timing import Promise, Workload, random_image, repeated
from labkit.engine.batches import choose_batch_size
from labkit.explain import saliency, smoothgrad
from labkit.models import load_model

TIMES = {"minivgg": 8, "resnet18": 4, "resnet50": 2}
REPEATS = 15  # a promise met by a twentieth is not seen in five
N_SAMPLES = 50
NOISE = 0.15


def gradient(network: str) -> Workload:
    """One picture, one map."""
    model, image = load_model(network, weights="random"), random_image()
    saliencies = Saliency(model)
    ways = {
        "one forward pass": lambda: passes(model, image, 1, 1),
        "saliency": lambda: saliency(model, image, 1),
        "captum's Saliency": lambda: saliencies.attribute(leaf(image), target=1),
        "zennit's Gradient": zennits(Gradient(model), model, image),
    }
    n = TIMES[network]
    ways = {name: repeated(way, n) for name, way in ways.items()}
    promises = [Promise("saliency", "one forward pass", at_most=2.3)]
    times = dict.fromkeys(ways, n)
    return Workload("Gradient", network, ways, ["saliency"], promises, times, REPEATS)


def smooth(network: str) -> Workload:
    """SmoothGrad of one picture."""
    model, image = load_model(network, weights="random"), random_image()
    size, bare = choose_batch_size(image), f"{N_SAMPLES} forward passes"
    tunnel = NoiseTunnel(Saliency(model))
    width = NOISE * (image.max() - image.min()).item()

    def captums() -> Tensor:
        batches = {"nt_samples": N_SAMPLES, "nt_samples_batch_size": size}
        return tunnel.attribute(
            leaf(image), target=1, nt_type="smoothgrad", stdevs=width, **batches
        )

    attributor = SmoothGrad(model, noise_level=NOISE, n_iter=N_SAMPLES)
    ways = {
        bare: lambda: passes(model, image, N_SAMPLES, size),
        "smoothgrad": lambda: smoothgrad(model, image, 1, explain=saliency, n_samples=N_SAMPLES),
        f"captum's NoiseTunnel, {size} at once": captums,
        "zennit's SmoothGrad": zennits(attributor, model, image),
    }
    promises = [Promise("smoothgrad", bare, at_most=2.4)]
    name = f"SmoothGrad, {N_SAMPLES} samples"
    return Workload(name, network, ways, ["smoothgrad"], promises, repeats=REPEATS)


def leaf(image: Tensor) -> Tensor:
    """`[1, C, H, W]`, fresh, as the peers want it."""
    return image[None].clone().requires_grad_()


def zennits(attributor: Gradient, model: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    """The gradient of the score of class 1, by zennit."""
    one_hot = torch.eye(len(model.classes))[[1]]

    def attribute() -> Tensor:
        with attributor:
            return attributor(leaf(image), one_hot)[1]

    return attribute


BUILDS = {gradient: tuple(TIMES), smooth: ("minivgg", "resnet18")}
measurements = partial(timing.measurements, BUILDS)

if __name__ == "__main__":
    timing.main(measurements)
