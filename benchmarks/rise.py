"""RISE and LIME in units of their own forward passes.

The limit is the forward passes, in our fastest layout and batch size. The authors' way of RISE is
written afresh from their definition: all masks made first, with scikit-image, and masked pictures
in the default layout. Run it as `python -m benchmarks.rise`.
"""

from __future__ import annotations

import os
from contextlib import redirect_stderr

import numpy as np
import skimage.data
import torch
from lime.lime_image import LimeImageExplainer
from skimage.transform import resize
from torch import Tensor, nn

from benchmarks.gradients import passes
from benchmarks.timing import machine, measure, table
from labkit.explain import lime, lime_samples, rise, segment
from labkit.explain.batches import choose_batch_size, class_probabilities
from labkit.models import Classifier, load_model

N = 200


def authors_rise(model: nn.Module, image: Tensor) -> Tensor:
    """The map of `rise(normalise="official")`, as the authors' code gets it (100 at once)."""
    random = np.random.default_rng(0)
    grids = (random.random((N, 8, 8)) < 0.5).astype(np.float32)
    masks = np.empty((N, 1, 224, 224), dtype=np.float32)
    for mask, grid in zip(masks, grids, strict=True):
        large = resize(grid, (252, 252), order=1, mode="reflect", anti_aliasing=False)
        down, right = random.integers(0, 28, 2)
        mask[0] = large[down : down + 224, right : right + 224]
    M = torch.from_numpy(masks)
    with torch.no_grad():
        f = torch.cat([model(part * image).softmax(1) for part in M.split(100)])
    return (f.T @ M.flatten(1)).view(-1, 224, 224)[1] / (N * 0.5)


def packages_lime(model: nn.Module, image: Tensor, segments: np.ndarray) -> object:
    """The package's own loop, given our fast forward pass."""

    def answers(pictures: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pictures).float().permute(0, 3, 1, 2)
        with torch.no_grad():
            return class_probabilities(model, images).double().numpy()

    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # its progress bar
        return LimeImageExplainer(random_state=0).explain_instance(
            image.permute(1, 2, 0).double().numpy(),
            answers,
            labels=(1,),
            top_labels=None,
            num_samples=N,
            segmentation_fn=lambda picture: segments,
        )


def compare(model: Classifier) -> None:
    """Print two tables."""
    image = model.prepare(skimage.data.chelsea())
    size, segments = choose_batch_size(image), segment(image, "slic")
    bare = f"{N} forward passes"
    ways = {
        bare: lambda: passes(model, image, N, size),
        "rise": lambda: rise(model, image, 1, n_masks=N),
        "the authors' way": lambda: authors_rise(model, image),
    }
    print(table(measure(ways, 5), bare))
    given = {"n_samples": N, "segments": segments}
    ways = {
        bare: lambda: passes(model, image, N, size),
        "lime, segmented before": lambda: lime(model, image, 1, **given),
        "lime, its samples alone": lambda: lime_samples(model, image, 1, **given),
        "quickshift alone": lambda: segment(image),
        "slic alone": lambda: segment(image, "slic"),
        "the package's loop": lambda: packages_lime(model, image, segments.numpy()),
    }
    print(table(measure(ways, 5), bare))


def main() -> None:
    """Print tables for each network."""
    print(machine("lime"))
    for name in ("minivgg", "resnet18"):
        print(f"\n{name}")
        compare(load_model(name, weights="random"))


if __name__ == "__main__":
    main()
