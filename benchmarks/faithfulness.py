"""Deletion and insertion in units of their own forward passes, 48 steps, 7 pictures at a time.

The limit is the forward passes, in our layout. The authors' way is written afresh from their
definition: one picture after the other, changed in place. torchcam computes both curves at once,
and shares the picture in which all is replaced; its Grad-CAM is part of its time. Quantus computes
no first point. Run it as `python -m benchmarks.faithfulness`; the extra `conformance` brings
torchcam, and Quantus takes part where it is installed (`pip install quantus`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn
from torchcam.methods import GradCAM
from torchcam.metrics import DeletionInsertionMetric

from benchmarks.gradients import passes
from benchmarks.timing import machine, measure, table
from labkit.explain import gradcam
from labkit.explain.hooks import find_layer
from labkit.metrics import deletion, insertion
from labkit.models import last_conv, load_model

S = 48
SIZE = 7  # seven batches are the 49 pictures of a curve
STEP = -(-224 * 224 // S)


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


def quantus_flipping(
    model: nn.Module, image: Tensor, relevance: Tensor, target: int
) -> dict[str, Callable]:
    """Quantus' pixel flipping in as many steps, where it is installed; it flips channels apart."""
    if importlib.util.find_spec("quantus") is None:
        return {}
    import quantus

    values = image.numel() // S
    metric = quantus.PixelFlipping(
        features_in_step=values, normalise=False, perturb_baseline=0.0, disable_warnings=True
    )
    batch = {"x_batch": image[None].numpy(), "a_batch": relevance[None, None].numpy()}
    batch["y_batch"] = np.array([target])
    return {"Quantus' PixelFlipping": partial(metric, model, softmax=True, device="cpu", **batch)}


def one_curve(model: nn.Module, image: Tensor, layer: str) -> dict[str, Callable]:
    """Ways to one curve of a given map."""
    k = class_with_a_map(model, image, layer)
    relevance = gradcam(model, image, k, layer=layer)
    return {
        "49 forward passes": lambda: passes(model, image, S + 1, SIZE),
        "deletion": lambda: deletion(model, image, relevance, k, step=STEP, batch_size=SIZE),
        "the authors' way": lambda: authors_deletion(model, image, relevance, k),
        **quantus_flipping(model, image, relevance, k),
    }


def both_curves(model: nn.Module, image: Tensor, layer: str) -> dict[str, Callable]:
    """Ways to Grad-CAM and both of its curves, from grey."""
    k = class_with_a_map(model, image, layer)
    extractor = GradCAM(model, find_layer(model, layer), input_shape=(3, 224, 224))

    def ours() -> None:
        relevance = gradcam(model, image, k, layer=layer)
        for metric in (deletion, insertion):
            metric(model, image, relevance, k, step=STEP, baseline=0.0, batch_size=SIZE)

    def torchcams() -> dict[str, float]:
        softmax = partial(torch.softmax, dim=-1)
        metric = DeletionInsertionMetric(extractor, softmax, steps=S, batch_size=SIZE)
        metric.update(image[None].clone(), k)
        return metric.summary()

    return {
        "98 forward passes": lambda: passes(model, image, 2 * (S + 1), SIZE),
        "gradcam, deletion, insertion": ours,
        "torchcam's metric": torchcams,
    }


def compare(model: nn.Module) -> None:
    """Print two tables."""
    image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))
    for ways_of in (one_curve, both_curves):
        ways = ways_of(model, image, last_conv(model))
        print(table(measure(ways, 5), next(iter(ways))))


def main() -> None:
    """Print tables for each network."""
    print(machine("torchcam"))
    for name in ("minivgg", "resnet18"):
        print(f"\n{name}")
        compare(load_model(name, weights="random"))


if __name__ == "__main__":
    main()
