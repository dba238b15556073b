"""How alike two maps are, whatever their scale."""

from __future__ import annotations

import math

import torch
from scipy.stats import spearmanr
from torch import Tensor


def pearson(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of the values of two maps, from -1 to 1; NaN where one is constant."""
    if _is_constant(a) or _is_constant(b):
        return math.nan
    return torch.corrcoef(torch.stack([_scaled(a), _scaled(b)]))[0, 1].item()


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation, tied values at their mean rank; NaN where a map is constant."""
    if _is_constant(a) or _is_constant(b):
        return math.nan
    pair = (values.detach().flatten().cpu().numpy() for values in (a, b))
    return float(spearmanr(*pair).statistic)


def _scaled(values: Tensor) -> Tensor:
    """In units of the largest deviation from the mean, whose square cannot vanish or overflow."""
    deviation = values.detach().flatten().double().cpu()
    deviation = deviation - deviation.mean()
    return deviation / deviation.abs().max()


def _is_constant(values: Tensor) -> bool:
    return bool(values.min() == values.max())
