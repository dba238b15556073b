"""FEM, the feature explanation method: where feature maps are unusually active.

K. Ahmed Asif Fuad, P.-E. Martin, R. Giot, R. Bourqui, J. Benois-Pineau and A. Zemmari, "Features
Understanding in 3D CNNs for Actions Recognition in Video", IPTA 2020. mu and sigma: a map's mean
and standard deviation; B: the binary maps; S: their weighted sum. Differs from the authors' code: S
is not divided by its maximum, and is enlarged bilinearly. No class score is used, neither logit nor
probability.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from labkit.engine.contract import (
    check_image,
    check_model,
    check_target,
    forward_pass,
    logits_of,
    single,
)
from labkit.engine.hooks import Layer, as_maps, recorded, upsample


def fem(
    model: nn.Module, image: Tensor, target: int | None = None, *, layer: Layer, k: float = 2.0
) -> Tensor:
    """Where the feature maps are active far beyond their own mean, whatever the class.

    By Cantelli's inequality at most 1 / (1 + k^2) of a map's places are marked: a fifth for k = 2.
    No value of n lies more than sqrt(n - 1) deviations above their mean: for k = 2, maps of 5
    places or fewer give zero everywhere.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: ignored but for a check, because FEM explains no class; every other method has it.
        layer: the layer whose maps are read; `labkit.models.last_maps(model)` names the usual one.
        k: how many standard deviations above its mean a place must be.

    Returns:
        `[H, W]`, in the layer's units; not negative behind a ReLU.

    Raises:
        ValueError: k is negative or not finite, or the layer is not in the model, does not run
            once, or has no spatial extent.
    """
    check_image(image)
    (S,) = fem_of_each(model, image[None], [target], layer=layer, k=k)
    return S


def fem_of_each(
    model: nn.Module, images: Tensor, targets: Sequence[int | None], *, layer: Layer, k: float = 2.0
) -> Tensor:
    """`fem` of images `[N, C, H, W]`, in one pass: `[N, H, W]`."""
    check_model(model)
    if not 0 <= k < float("inf"):
        raise ValueError(f"k must be a number of standard deviations, 0 or more, got {k}")
    A = _maps(model, images, targets, layer)  # [N, K, h, w]
    mu = A.mean(dim=(2, 3), keepdim=True)  # [N, K, 1, 1]
    deviation = A - mu
    # Common mistake: torch.std divides by n - 1; this is the population's, by n. Both sides of
    # the comparison share the rounding error of mu, so that a constant map is never marked.
    sigma = deviation.square().mean(dim=(2, 3), keepdim=True).sqrt()
    B = (deviation > k * sigma).to(A.dtype)  # A > mu + k sigma
    S = (mu * B).sum(dim=1)  # [N, h, w]
    return upsample(S, images.shape[-2:]).float()


def _maps(model: nn.Module, images: Tensor, targets: Sequence[int | None], layer: Layer) -> Tensor:
    """The layer's maps `[N, K, h, w]`; where classes are given, the same pass checks them."""
    given = [target for target in targets if target is not None]
    with recorded(model, [layer]) as outputs:
        if given:
            n_classes = logits_of(model, images).shape[1]
            for target in given:
                check_target(target, n_classes)
        else:
            forward_pass(model, images)
    return single(as_maps(outputs[0], images.shape[2:], layer))
