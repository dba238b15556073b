"""Maps that know nothing of the network: what every table of methods is held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.ndimage import sobel
from torch import Tensor


def centre_gaussian(size: Sequence[int], *, width: float = 0.25) -> Tensor:
    """A hill in the middle: photographers put the subject there, and eyes begin there.

    Args:
        size: (H, W).
        width: standard deviation, as a share of each side.

    Returns:
        `[H, W]`, from 0 to 1.
    """
    y, x = (((torch.arange(n) + 0.5) / n - 0.5) / width for n in size)
    return torch.exp(-(y[:, None] ** 2 + x**2) / 2)


def uniform(size: Sequence[int]) -> Tensor:
    """The same everywhere, `[H, W]`: a map that says nothing."""
    return torch.ones(size)


def random_map(size: Sequence[int], *, seed: int = 0) -> Tensor:
    """Noise without any structure, `[H, W]`, from 0 to 1."""
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def edges(image: Tensor) -> Tensor:
    """How steep the brightness is: Sobel's filters, as old as computer vision.

    A method whose maps look like this one may be showing the picture and not the network: Adebayo
    et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, https://arxiv.org/abs/1810.03292.

    Args:
        image: `[C, H, W]`.

    Returns:
        `[H, W]`, at least 0, on the image's device.
    """
    brightness = image.detach().mean(dim=0).cpu().double().numpy()
    steepness = [torch.from_numpy(sobel(brightness, axis=axis)) for axis in (0, 1)]
    return torch.hypot(*steepness).float().to(image.device)
