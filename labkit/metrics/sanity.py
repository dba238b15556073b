"""Does the map depend on what the network has learned? It should change when that is destroyed.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018,
https://arxiv.org/abs/1810.03292. Differs from the paper: of its measures of likeness only the rank
correlations, with and without sign.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labkit.checks import check_choice
from labkit.correlation import spearman
from labkit.engine.contract import check_image, check_model, logit
from labkit.engine.hooks import Layer, find_layer
from labkit.engine.plain import plain_weights

MODES = ("cascading", "independent")


class Randomised(NamedTuple):
    """How much of a map is left when a layer has lost its weights.

    layer: its name.
    rank_correlation: Spearman's, of the map with the trained network's own, from -1 to 1.
    rank_correlation_abs: the same of their absolute values, for methods whose sign says little.
    """

    layer: str
    rank_correlation: float
    rank_correlation_abs: float


def randomisation(
    method: Callable[..., Tensor],
    model: nn.Module,
    image: Tensor,
    target: int,
    *,
    mode: str = "cascading",
    layers: Sequence[Layer] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[Randomised]:
    """Draw the weights of a layer anew, explain again, and compare; layer after layer.

    A method that explains the network loses its map; one whose map survives shows the picture, its
    edges for example. New weights are what `reset_parameters()` of each layer draws, as before
    training; batch normalisation forgets its statistics. All of it happens on a copy.

    Common mistake: a copy made by `biased` as the model, whose layers hold their weights twice.
    Make it in the method: `lambda model, *asked: sensitivity(biased(model), *asked)`.

    Args:
        method: an explainer; settings bound by `functools.partial`, layers by name.
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index, the same for all networks.
        mode: "cascading" keeps the layers before random too, from the output down, until nothing
            learned is left; "independent" gives each its own weights back first.
        layers: names, or modules, in this order; a block's layers are drawn together. By default
            every layer with parameters of its own, from the output down to the input.
        seed: which random network; both modes, and any choice of layers, take from the same one.
        progress: show a bar.

    Returns:
        One `Randomised` a layer, in order. A constant map of a random network counts as 0, what
        breaking its ties at random gives on average; where the trained network's own map is
        constant there is nothing to compare with, and the result is NaN.

    Raises:
        ValueError: mode is unknown, a layer is not in the model or cannot be drawn anew, or a map
            is not finite.
        TypeError: model is no `nn.Module`, or a layer is neither name nor module.
        IndexError: target is not one of the classes.
    """
    check_model(model)
    check_image(image)
    check_choice("mode", mode, MODES)
    model = plain_weights(model)
    used = _names_from_the_top(model, image, target)
    names = used if layers is None else [_name(model, layer) for layer in layers]
    fresh = _fresh(model, seed)
    _check_layers(fresh, names)
    with torch.inference_mode(False):
        changed = copy.deepcopy(model)
    original = _map(method, changed, image, target, "before any layer is changed")
    rows = []
    for name in tqdm(names, desc="layers", disable=not progress):
        layer = changed.get_submodule(name)
        learned = copy.deepcopy(layer.state_dict())
        layer.load_state_dict(fresh.get_submodule(name).state_dict())
        S = _map(method, changed, image, target, f"with random weights in {name!r}")
        rows.append(Randomised(name, _spearman(original, S), _spearman(original.abs(), S.abs())))
        if mode == "independent":
            layer.load_state_dict(learned)
    return rows


def _fresh(model: nn.Module, seed: int) -> nn.Module:
    """The same network before training, on the CPU, where each seed draws the same everywhere."""
    fresh = copy.deepcopy(model).cpu()
    with torch.random.fork_rng(devices=[]):
        # reset_parameters() takes no generator. torch.manual_seed would seed the GPUs as well.
        torch.default_generator.manual_seed(seed)
        for module in fresh.modules():
            if reset := _reset_of(module):
                for parameter in module.parameters(recurse=False):
                    parameter.data.fill_(torch.nan)  # what is forgotten can be seen
                reset()
    return fresh


def _names_from_the_top(model: nn.Module, image: Tensor, target: int) -> list[str]:
    """The layers with parameters of their own that a forward pass runs, the last to start first."""
    ran: list[nn.Module] = []
    with ExitStack() as stack:
        for module in model.modules():
            if _has_parameters(module):
                note = lambda module, inputs: ran.append(module)  # noqa: E731
                stack.enter_context(module.register_forward_pre_hook(note))
        logit(model, image, target)
    return [_name(model, module) for module in reversed(dict.fromkeys(ran))]


def _map(
    method: Callable[..., Tensor], model: nn.Module, image: Tensor, target: int, when: str
) -> Tensor:
    S = method(model, image, target).detach().flatten().cpu()
    if not torch.isfinite(S).all():
        raise ValueError(
            f"method must return a finite map, got NaN or infinity {when}; "
            "look at its map with the model, or leave the layer out of layers"
        )
    return S


def _spearman(original: Tensor, S: Tensor) -> float:
    """Spearman's rank correlation, tied values at their mean rank; see `randomisation`."""
    r = spearman(original, S)
    return 0.0 if math.isnan(r) and original.min() < original.max() else r


def _name(model: nn.Module, layer: Layer) -> str:
    """A layer's name: as given, or as the network inside a `Classifier` calls it."""
    module = find_layer(model, layer)
    if isinstance(layer, str):
        return layer
    name = next(name for name, each in model.named_modules() if each is module)
    _, _, inside = name.partition(".")
    try:
        return inside if model.get_submodule(inside) is module else name
    except AttributeError:
        return name


def _check_layers(model: nn.Module, names: Sequence[str]) -> None:
    """Refuse layers of a `_fresh` network whose weights were not drawn."""
    if not names:
        raise ValueError("layers must be at least one layer with parameters, got none")
    for name in names:
        parts = list(filter(_has_parameters, model.get_submodule(name).modules()))
        stuck = [type(part).__name__ for part in parts if not _was_drawn(part)]
        if stuck or not parts:
            drawn = "has no reset_parameters() that draws all of its weights"
            reason = f"{stuck[0]} {drawn}" if stuck else "it has no parameters"
            raise ValueError(
                f"layers must be layers whose weights can be drawn anew, got {name!r}: {reason}; "
                "choose others with layers=[...]"
            )


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _was_drawn(module: nn.Module) -> bool:
    """Whether nothing was forgotten when a layer of `_fresh` was drawn."""
    own = module.parameters(recurse=False)
    return _reset_of(module) is not None and not any(each.isnan().any() for each in own)


def _reset_of(module: nn.Module) -> Callable[[], object] | None:
    return getattr(module, "reset_parameters", None)
