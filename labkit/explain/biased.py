"""Biased layers: the same forward pass, and a gradient that favours excitation.

Montavon, Binder, Lapuschkin, Samek and Müller, "Layer-Wise Relevance Propagation: An Overview",
in "Explainable AI", LNCS 11700, 2019, https://doi.org/10.1007/978-3-030-28954-6_10. A layer
z = W a + b is set beside q = W' a + b', in which the positive weights weigh more:

    W' = W + gamma max(0, W)        b' = b + gamma max(0, b)

Rule "ratio": the gradient of q, times z / q held constant. In a network of such layers and ReLUs
gradient times input is then the relevance that the paper's rule LRP-gamma hands down.
Rule "straight-through": the gradient of q alone. In both the value that goes forward stays z.

Behind a ReLU no input is negative, so that an active unit has q >= z > 0, and z / q lies between
0 and 1. Differs from the paper: the first layer is left as it is by default, because a normalised
image is signed, and there z / q has no bound.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor, nn

from labkit.checks import check_choice
from labkit.engine.contract import check_model
from labkit.engine.plain import plain_weights

Weighted = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear  # z = W a + b
SIGNED = (  # activations with negative values
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh, nn.Softsign),
    *(nn.ELU, nn.CELU, nn.SELU, nn.LeakyReLU, nn.PReLU, nn.RReLU),
)
STABILISER = 1e-9  # added to |q|, so that z / q is finite


def biased(
    model: nn.Module,
    gamma: float = 0.25,
    rule: str = "ratio",
    first_layer: str = "plain",
    *,
    bias: str = "biased",
) -> nn.Module:
    """A copy of the network with the same logits and a gradient that favours excitation.

    Give it to any method that reads gradients. Its layers keep their names, and all of its
    parameters are frozen; the model itself is neither changed nor shared. Batch normalisation stays
    as it is, and so does a layer whose weights are read without running it, as in attention.

    Common mistake: rule "ratio" in a network with signed values inside, between a convolution and
    its batch normalisation or behind a GELU. The bound on z / q is lost: on a photograph
    mobilenet_v2's gradient grew from 0.4 to 1e34. Such networks are refused; for them there is
    "straight-through".

    Args:
        model: the network, with convolutions or linear layers.
        gamma: how much more the positive weights weigh; 0 gives the plain gradient.
        rule: "ratio" or "straight-through", see above.
        first_layer: "plain" leaves the layer that the network registered first as it is. Common
            mistake: "biased" and "ratio" on a signed image, where q may be almost 0 though z is
            not; the gradient then explodes.
        bias: "biased" takes b' = b + gamma max(0, b), as the paper and zennit do; "plain" keeps
            b' = b, as captum does.

    Returns:
        The copy, in the model's own modes, with a `BiasedLayer` in place of each layer.

    Raises:
        TypeError: model is no `nn.Module`.
        ValueError: a setting is not one of those above, the model has no layer to bias or is biased
            already, or rule "ratio" has no bound in it.
    """
    check_model(model)
    check_choice("first_layer", first_layer, ("plain", "biased"))
    model = plain_weights(model)
    layers = _layers_of(model)
    if rule == "ratio" and gamma != 0:
        _check_bounded(model, layers[1:])
    with torch.inference_mode(False), torch.no_grad():
        # What deepcopy finds in its memo it takes instead of a copy: a layer in two places is
        # replaced by one BiasedLayer in both.
        memo = {
            id(layer): BiasedLayer(copy.deepcopy(layer), gamma, rule, bias=bias)
            for layer in _without_first(layers, first_layer)
        }
        return copy.deepcopy(model, memo).requires_grad_(False)


class BiasedLayer(nn.Module):
    """A convolution or linear layer with its own output z and the gradient of a biased one, q.

    Whoever asks for its `weight` or `stride` is told the layer's own.
    """

    one_layer = True  # its parts are no layers of the network

    def __init__(
        self, layer: Weighted, gamma: float = 0.25, rule: str = "ratio", *, bias: str = "biased"
    ):
        """Set W' and b' beside a layer's W and b; the settings are those of `biased`."""
        super().__init__()
        _check_layer(layer)
        if not 0 <= gamma < float("inf"):
            raise ValueError(
                f"gamma must be a finite number, 0 or more, got {gamma}; "
                "0 gives the plain gradient, 0.25 is the usual one"
            )
        check_choice("rule", rule, RULES)
        check_choice("bias", bias, ("biased", "plain"))
        self.gamma, self.rule = gamma, rule
        self.excited = copy.deepcopy(layer)
        self.excited.weight = _excited(layer.weight, gamma)
        if bias == "biased" and layer.bias is not None:
            self.excited.bias = _excited(layer.bias, gamma)
        self.layer = layer
        self.training = layer.training

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "layer":
                raise
            return getattr(self.layer, name)

    def forward(self, a: Tensor) -> Tensor:
        """The layer's output z, with the rule's gradient."""
        z = self.layer(a.detach())
        if not (a.requires_grad and torch.is_grad_enabled()):
            return z  # no gradient will pass here
        return RULES[self.rule](z, self.excited(a))

    def extra_repr(self) -> str:
        """The settings, as they stand in the printed network."""
        return f"gamma={self.gamma:g}, rule={self.rule!r}"


def _ratio(z: Tensor, q: Tensor) -> Tensor:
    """z, with the gradient of q times z / q.

    The textbook's q * (z / q).detach() rounds, and is NaN at 0 / 0. Here q only adds its own
    difference to itself: zero, with a gradient. z / q is 1 where q = z, so that gamma = 0 gives the
    plain gradient, also at 0 / 0.
    """
    z_over_q = z / (q + torch.full_like(q, STABILISER).copysign(q))
    return z + torch.where(q == z, 1.0, z_over_q).detach() * (q - q.detach())


def _straight_through(z: Tensor, q: Tensor) -> Tensor:
    """z, with the gradient of q."""
    return z + (q - q.detach())


RULES = {"ratio": _ratio, "straight-through": _straight_through}


def _excited(weight: Tensor, gamma: float) -> nn.Parameter:
    """W + gamma max(0, W)."""
    weight = weight.detach()
    return nn.Parameter(weight + gamma * weight.clamp(min=0), requires_grad=False)


def _layers_of(model: nn.Module) -> list[Weighted]:
    """The layers that can be biased, in the order in which they were registered."""
    if any(isinstance(module, BiasedLayer) for module in model.modules()):
        raise ValueError(
            "model must not be biased already; pass the network that the copy was made from"
        )
    layers = [module for module in model.modules() if isinstance(module, Weighted)]
    if not layers:
        raise ValueError(
            f"model must have a convolution or a linear layer, got {type(model).__name__} without "
            "any; pass the network itself, for example labkit.models.load_model(...)"
        )
    return layers


def _check_bounded(model: nn.Module, layers: Sequence[nn.Module]) -> None:
    """Refuse a network that makes signed values of what a biased layer gives."""
    steps = [m for m in model.modules() if not list(m.children()) or _is_norm(m)]
    steps = [m for m in steps if not isinstance(m, nn.Identity | nn.Dropout)]
    biased_ones = set(map(id, layers))
    for layer, behind in pairwise(steps):
        if id(layer) in biased_ones and (_is_norm(behind) or isinstance(behind, SIGNED)):
            name = getattr(model, "name", type(model).__name__)
            raise ValueError(
                f"rule must be 'straight-through' for {name}, got 'ratio': the "
                f"{type(behind).__name__} behind a {type(layer).__name__} gives signed values, for "
                "which z / q has no bound, and the gradient explodes"
            )


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__


def _without_first(layers: list[Weighted], first_layer: str) -> list[Weighted]:
    if first_layer == "biased":
        return layers
    if len(layers) == 1:
        raise ValueError(
            f"model must have a second layer to bias, got one {type(layers[0]).__name__} alone, "
            "which first_layer='plain' leaves as it is; pass first_layer='biased'"
        )
    return layers[1:]


def _check_layer(layer: nn.Module) -> None:
    if not isinstance(layer, Weighted):
        known = ", ".join(kind.__name__ for kind in get_args(Weighted))
        raise TypeError(
            f"layer must be one of {known}, got {type(layer).__name__}; "
            "biased(model) finds the layers of a whole network"
        )
