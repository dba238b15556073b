"""One gradient, and SmoothGrad per sample, in units of a bare forward pass of one image.

The limit is a forward pass and the gradient of the input, which costs about as much again. Run it
as `python -m benchmarks.gradients`; the extra `conformance` brings captum.
"""

from __future__ import annotations

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn

from benchmarks.timing import machine, measure, table
from labkit.explain import saliency, smoothgrad
from labkit.explain.batches import choose_batch_size, laid_out
from labkit.models import load_model

N_SAMPLES = 24


def passes(model: nn.Module, image: Tensor, n: int, size: int) -> None:
    """Bare forward passes of n images, `size` at once, in our layout."""
    images = laid_out(image.expand(size, -1, -1, -1))
    with torch.inference_mode():
        for _ in range(n // size):
            model(images)


def compare(model: nn.Module) -> None:
    """Print two tables."""
    image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))
    tunnel, size = NoiseTunnel(Saliency(model)), choose_batch_size(image)
    noise = {"nt_type": "smoothgrad", "stdevs": 0.15 * (image.max() - image.min()).item()}

    def captums_smoothgrad(at_once: int) -> Tensor:
        x = image[None].clone()
        batches = {"nt_samples": N_SAMPLES, "nt_samples_batch_size": at_once}
        return tunnel.attribute(x, target=1, **noise, **batches)

    one = {
        "one forward pass": lambda: passes(model, image, 8, 1),
        "saliency": lambda: [saliency(model, image, 1) for _ in range(8)],
        "captum's Saliency": lambda: [
            Saliency(model).attribute(image[None].clone(), target=1) for _ in range(8)
        ],
    }
    print(table(measure(one, 7), "one forward pass"))
    smooth = {
        f"{N_SAMPLES} forward passes": lambda: passes(model, image, N_SAMPLES, size),
        "smoothgrad": lambda: smoothgrad(model, image, 1, explain=saliency, n_samples=N_SAMPLES),
        f"captum's NoiseTunnel, {size} at once": lambda: captums_smoothgrad(size),
        "captum's NoiseTunnel, one at a time": lambda: captums_smoothgrad(1),
    }
    print(table(measure(smooth, 5), f"{N_SAMPLES} forward passes"))


def main() -> None:
    """Print tables for each network."""
    print(machine("captum"))
    for name in ("minivgg", "resnet18"):
        print(f"\n{name}")
        compare(load_model(name, weights="random"))


if __name__ == "__main__":
    main()
