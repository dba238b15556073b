"""Toy networks as data: an architecture by its name, the weights as arrays.

An exercise gives networks to a student's function, and the function may run in another process.
So a network travels as arrays and is built where it is used; nothing is pickled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Layers in the order in which they run. Those with weights take their shapes from them.
KINDS = {
    "linear": ("flatten", "out"),
    "mlp": ("flatten", "hidden", "tanh", "out"),  # curved: no two images have one gradient
    "cnn": ("conv", "relu", "pool", "flatten", "out"),
    "maps": ("conv",),
    "features": ("conv1", "relu1", "halve", "conv2", "relu2"),
    "flat_head": ("flatten", "out"),
}
PLAIN = {
    "flatten": nn.Flatten,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "halve": lambda: nn.MaxPool2d(2),
    "pool": lambda: nn.AdaptiveAvgPool2d(1),
}


class Network(NamedTuple):
    """A network that can be sent anywhere: `[N, C, H, W]` to `[N, K]`, or to maps."""

    kind: str  # one of KINDS
    weights: Mapping[str, np.ndarray]  # by the names of `state_dict`: "conv.weight", "out.bias"

    def build(self) -> nn.Sequential:
        """The network in torch, in eval mode, with the weights' precision.

        Raises:
            ValueError: there is no such kind.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        state = {name: torch.from_numpy(np.array(array)) for name, array in self.weights.items()}
        layers = OrderedDict((name, _layer(name, state)) for name in KINDS[self.kind])
        model = nn.Sequential(layers)
        model.load_state_dict(state, assign=True)
        return model.eval()


def drawn(rng: np.random.Generator, kind: str, **shapes: tuple[int, ...]) -> Network:
    """A network with random weights.

    Args:
        rng: gives the weights.
        kind: one of KINDS.
        shapes: by layer, the shape of its weight: `conv=(4, 3, 3, 3)`, `out=(2, 4)`.

    Returns:
        float32 weights, scaled by the square root of the inputs a unit has.
    """
    weights = {}
    for layer, shape in shapes.items():
        scale = np.sqrt(np.prod(shape[1:]))
        weights[f"{layer}.weight"] = (rng.normal(size=shape) / scale).astype(np.float32)
        weights[f"{layer}.bias"] = (0.1 * rng.normal(size=shape[0])).astype(np.float32)
    return Network(kind, weights)


def _layer(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """A convolution or a linear layer as its weight's shape says, or one without weights."""
    weight = state.get(f"{name}.weight")
    if weight is None:
        return PLAIN[name.rstrip("0123456789")]()
    bias = f"{name}.bias" in state
    if weight.ndim == 2:
        return nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
    height, width = weight.shape[2:]
    padding = (height // 2, width // 2)  # the maps keep the image's size
    return nn.Conv2d(weight.shape[1], weight.shape[0], (height, width), padding=padding, bias=bias)
