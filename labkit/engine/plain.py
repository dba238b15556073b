"""Networks whose weights are computed, by weight or spectral norm, with plain weights instead."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

# What the older nn.utils.weight_norm and spectral_norm hang on a layer, and how it is taken off.
REMOVALS = {"WeightNorm": remove_weight_norm, "SpectralNorm": remove_spectral_norm}


def plain_weights(model: nn.Module) -> nn.Module:
    """A copy with the weights that the forward pass uses; the model itself if they are its own.

    Who draws or changes `layer.weight` in a layer under weight norm, spectral norm or another
    parametrisation changes nothing: the forward pass computes the weight anew. In the copy these
    are computed once, as in eval mode, and then stay.

    Args:
        model: any network; it is not changed.
    """
    if not any(map(_is_computed, model.modules())):
        return model
    with torch.inference_mode(False), torch.no_grad():
        plain = deep_copy(model)
        modes = {module: module.training for module in plain.modules()}
        plain.eval()
        for module in list(plain.modules()):
            if parametrize.is_parametrized(module):
                _keep_computed(module)
            for hook in _norms(module):
                REMOVALS[type(hook).__name__](module, hook.name)
        for module in plain.modules():
            module.training = modes[module]
    return plain


def _keep_computed(module: nn.Module) -> None:
    """Make parameters of what is computed; torch's removal would change the original's class."""
    names = [name for name, _ in module.get_submodule("parametrizations").named_children()]
    computed = {name: getattr(module, name) for name in names}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, values in computed.items():
        module.register_parameter(name, nn.Parameter(values.clone(), requires_grad=False))


def deep_copy(model: nn.Module) -> nn.Module:
    """`copy.deepcopy` that also takes weights which a forward pass has just computed."""
    values = (v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor))
    return copy.deepcopy(model, {id(v): v.detach().clone() for v in values if not v.is_leaf})


def _is_computed(module: nn.Module) -> bool:
    return parametrize.is_parametrized(module) or bool(_norms(module))


def _norms(module: nn.Module) -> list:
    return [h for h in module._forward_pre_hooks.values() if type(h).__name__ in REMOVALS]
