"""HiResCAM: feature maps, weighted place by place with the gradient of the class score.

Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
neural networks", 2020, https://arxiv.org/abs/2011.08891. Names are those of `gradcam`: A, Y, L. Y
is the class logit. There is no ReLU at the end: places that speak against the class are negative.
"""

from __future__ import annotations

from torch import Tensor, nn

from labkit.engine.hooks import Layer, activations_and_gradients, upsample


def hirescam(model: nn.Module, image: Tensor, target: int, *, layer: Layer) -> Tensor:
    """What each place of the feature maps contributes to the class score, by its own gradient.

    Grad-CAM averages a map's gradient over all places first; here nothing is averaged. Where global
    average pooling and one linear layer follow, Grad-CAM is this map cut at zero.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        layer: the layer whose maps are weighted; `labkit.models.last_maps(model)` names the usual
            one.

    Returns:
        `[H, W]`, signed, in logits.

    Raises:
        ValueError: the layer is not in the model, does not run once, or has no spatial extent.
    """
    A, dY_dA = activations_and_gradients(model, image, target, layer)  # [K, h, w] each
    return upsample(weighted_by_place(A, dY_dA), image.shape[-2:]).float()  # [H, W]


def weighted_by_place(A: Tensor, dY_dA: Tensor) -> Tensor:
    """L `[h, w]` from maps and gradients `[K, h, w]`, of one image or of each of many."""
    return (dY_dA * A).sum(dim=-3)
