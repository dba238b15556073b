"""Does the map point at what is known to matter? Relevance against a mask."""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def pointing_game(relevance: Tensor, mask: Tensor, *, tolerance: float = 0.0) -> float:
    """Whether the largest value of the map lies on the mask.

    Zhang, Lin, Brandt, Shen and Sclaroff, "Top-Down Neural Attention by Excitation Backprop", ECCV
    2016, https://arxiv.org/abs/1608.00507. Differs from the paper: the mean over tied maxima
    instead of the first, so that a constant map scores what chance gives.

    Args:
        relevance: `[H, W]`, any finite numbers.
        mask: `[H, W]`, bool, not empty.
        tolerance: how many pixels the maximum may lie beside the mask.

    Returns:
        1.0 for a hit, 0.0 for a miss; between them where tied maxima disagree.

    Raises:
        ValueError: the shapes differ, the mask is empty, or a number is not finite.
    """
    _check_pair(relevance, mask)
    distance = torch.from_numpy(distance_transform_edt(~mask.cpu().numpy()))  # pixels to the mask
    maxima = relevance.cpu() == relevance.cpu().max()
    return (distance[maxima] <= tolerance).double().mean().item()


def energy_inside(relevance: Tensor, mask: Tensor) -> float:
    """The share of the map's positive relevance that lies on the mask.

    Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu, "Score-CAM: Score-Weighted Visual
    Explanations for Convolutional Neural Networks", CVPR workshops 2020,
    https://arxiv.org/abs/1910.01279, call it the energy-based pointing game.

    Args:
        relevance: `[H, W]`, any finite numbers; negative ones count as 0.
        mask: `[H, W]`, bool, not empty.

    Returns:
        From 0 to 1; a map without positive values has nothing inside: 0.

    Raises:
        ValueError: the shapes differ, the mask is empty, or a number is not finite.
    """
    _check_pair(relevance, mask)
    positive = relevance.double().clamp(min=0)
    total = positive.sum().item()
    return positive[mask.to(positive.device)].sum().item() / total if total > 0 else 0.0


def _check_pair(relevance: Tensor, mask: Tensor) -> None:
    if relevance.ndim != 2 or relevance.shape != mask.shape:
        raise ValueError(
            f"relevance and mask must have one shape [H, W], got {list(relevance.shape)} and "
            f"{list(mask.shape)}; bring the mask to the image with model.prepare_mask(mask)"
        )
    if mask.dtype != torch.bool or not mask.any():
        raise ValueError(
            f"mask must be boolean with at least one True pixel, got {mask.dtype} with "
            f"{int(mask.sum())}; leave out pictures that have nothing to point at"
        )
    if not torch.isfinite(relevance).all():
        raise ValueError(
            "relevance must be finite, got NaN or infinity; look at the method's input"
        )
