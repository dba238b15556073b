"""Grad-CAM: feature maps, weighted by the mean gradient of the class score.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual Explanations from Deep
Networks via Gradient-based Localization", ICCV 2017, https://arxiv.org/abs/1610.02391. Names
follow the paper: A, Y, alpha, L. Y is the class logit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labkit.engine.hooks import Layer, activations_and_gradients, upsample


def gradcam(model: nn.Module, image: Tensor, target: int, *, layer: Layer) -> Tensor:
    """Where the feature maps that speak for a class are active.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        layer: the layer whose maps are weighted; `labkit.models.last_maps(model)` names the usual
            one.

    Returns:
        `[H, W]`, not negative, in logits; all zero where the maps speak against the class only.

    Raises:
        ValueError: the layer is not in the model, does not run once, or has no spatial extent.
    """
    A, dY_dA = activations_and_gradients(model, image, target, layer)  # [K, h, w] each
    return upsample(weighted_by_means(A, dY_dA), image.shape[-2:]).float()  # [H, W]


def weighted_by_means(A: Tensor, dY_dA: Tensor) -> Tensor:
    """L `[h, w]` from maps and gradients `[K, h, w]`, of one image or of each of many."""
    alpha = dY_dA.mean(dim=(-2, -1))  # [K]
    return torch.relu(torch.einsum("...k,...khw->...hw", alpha, A))
