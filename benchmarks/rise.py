"""RISE and LIME in units of their own forward passes.

The limit is the forward passes, in our fastest layout and batch size. Two other ways of RISE are
written afresh from their definitions. The authors': all masks made first, with scikit-image, and
masked pictures in the default layout, up to 100 at once. TorchRay's: 32 masks at a time, by
interpolating a mirrored grid, and 32 pictures at once in the default layout. LIME's own package is
given our fast forward pass, so that only its loop is compared. N is smaller than anyone would
choose for a map: the time grows in proportion (`benchmarks.scaling`).
"""

from __future__ import annotations

import os
from contextlib import redirect_stderr
from functools import partial

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from skimage.transform import resize
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import timing
from benchmarks.forward import passes, with_a_photograph
from benchmarks.timing import Promise, Workload
from labkit.engine.batches import choose_batch_size, class_probabilities
from labkit.explain import lime, rise, segment

N = 64
BARE = f"{N} forward passes"


def authors_rise(model: nn.Module, image: Tensor) -> Tensor:
    """The map of `rise(normalise="official")`, as the authors' code gets it."""
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


def torchrays_rise(model: nn.Module, image: Tensor) -> Tensor:
    """RISE as TorchRay gets it: 32 masks are made and used at a time, 7 x 7, for all classes."""
    random, total = torch.Generator().manual_seed(0), 0
    for _ in range(N // 32):
        grids = (torch.rand(32, 1, 7, 7, generator=random) < 0.5).float()
        large = F.interpolate(
            F.pad(grids, (1, 1, 1, 1), mode="reflect"), (333, 333), mode="bilinear"
        )
        shifts = (37 + torch.randint(0, 32, (32, 2), generator=random)).tolist()
        cut = [one[:, y : y + 224, x : x + 224] for one, (y, x) in zip(large, shifts, strict=True)]
        M = torch.stack(cut)
        with torch.no_grad():
            f = torch.sigmoid(model(image[None] * M))
        total = total + (f.T @ M.flatten(1)).view(-1, 224, 224)
    return total[1] / N


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


def rises(network: str) -> Workload:
    """One map from N masks."""
    model, image = with_a_photograph(network)
    ways = {
        BARE: lambda: passes(model, image, N, choose_batch_size(image)),
        "rise": lambda: rise(model, image, 1, n_masks=N),
        "the authors' way": lambda: authors_rise(model, image),
        "TorchRay's way": lambda: torchrays_rise(model, image),
    }
    promises = [Promise("rise", BARE, at_most=1.1)]
    return Workload(f"RISE, {N} masks", network, ways, ["rise"], promises)


def limes(network: str) -> Workload:
    """One map from N samples of a picture that is in segments already."""
    model, image = with_a_photograph(network)
    segments = segment(image, "slic")
    given, before = {"n_samples": N, "segments": segments}, "lime, segmented before"
    ways = {
        BARE: lambda: passes(model, image, N, choose_batch_size(image)),
        before: lambda: lime(model, image, 1, **given),
        "the package's loop": lambda: packages_lime(model, image, segments.numpy()),
    }
    promises = [Promise(before, BARE, at_most=1.15)]
    return Workload(f"LIME, {N} samples", network, ways, [before], promises)


def segmentations(network: str) -> Workload:
    """What LIME needs beside its passes, whatever the network."""
    _, image = with_a_photograph(network)
    ways = {method: partial(segment, image, method) for method in ("slic", "quickshift")}
    return Workload("Segments for LIME", "", ways, ())


NETWORKS = ("minivgg", "resnet18")
BUILDS = {rises: NETWORKS, limes: NETWORKS, segmentations: ("minivgg",)}
measurements = partial(timing.measurements, BUILDS)

if __name__ == "__main__":
    timing.main(measurements)
