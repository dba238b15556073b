"""Which layer: the last feature maps of a network, found by running it once."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from labkit.engine.contract import (
    check_followed,
    check_image,
    check_model,
    checked_logits,
    forward_pass,
    logits_of,
)
from labkit.engine.hooks import as_maps, find_layer

IDLE = re.compile("Pool|Permute|Rearrange")  # types of layers that only move or merge values
SAME = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in eval mode
CLOSE = 1e-4  # two logits that differ by less than this share of the largest are the same


class _Output(NamedTuple):
    """What a layer gave in the one pass."""

    name: str
    module: nn.Module
    values: Tensor


def last_maps(model: nn.Module, image: Tensor) -> str:
    """Name the layer with the last feature maps through which everything passes.

    One run records what every layer gives. Of the outputs that can be read as maps larger than
    1 x 1 (see `labkit.engine.hooks.as_maps`), the last one counts without which the class scores
    would not depend on the image: so it lies behind its normalisation and activation, and in no
    branch. Poolings and rearrangements do not count, nor maps whose mean is the class score, nor
    tokens that only the class token reads. Where several layers give the same maps, the outermost
    is named.

    Args:
        model: any network.
        image: `[C, H, W]`, such as it takes; only its size matters.

    Raises:
        ValueError: the network has no such maps, or its score has no gradient.
    """
    check_model(model)
    check_image(image)
    outputs, times, logits, start = _recorded(model, image)
    check_followed(logits.requires_grad)
    idle = {o.values.grad_fn for o in outputs if IDLE.search(type(o.module).__name__)}
    size = image.shape[1:]
    tried = set()
    for output in reversed(outputs):
        node = output.values.grad_fn
        if node in idle or node in tried or node is None:
            continue
        tried.add(node)
        same = [o for o in outputs if o.values.grad_fn is node and times[o.name] == 1]
        if same and _counts(output, logits, size) and not _reaches(logits.grad_fn, start, node):
            name = min(reversed(same), key=_rank).name
            if output.values.ndim == 4 or _is_read(model, image, name):
                return name
    raise ValueError(
        f"model must make feature maps that everything passes through, got {type(model).__name__} "
        "without any; use a method that needs no feature maps, such as labkit.explain.sensitivity"
    )


def _recorded(
    model: nn.Module, image: Tensor
) -> tuple[list[_Output], Counter[str], Tensor, Tensor]:
    """The layers' outputs as they end, how often each ran, the logits, and the images of them."""
    outputs: list[_Output] = []
    times: Counter[str] = Counter()

    def keep(name: str, module: nn.Module, given: object) -> None:
        times[name] += 1
        if isinstance(given, Tensor) and given.ndim in (3, 4) and len(given) == 1:
            outputs.append(_Output(name, module, given))

    find_layer(model, "")  # refuses a scripted network
    with ExitStack() as stack:
        for name in _names(model):
            module = model.get_submodule(name)
            hook = lambda module, inputs, given, name=name: keep(name, module, given)  # noqa: E731
            stack.enter_context(module.register_forward_hook(hook))
        with torch.inference_mode(False), torch.enable_grad():
            images = image.detach()[None].clone().requires_grad_()
            logits = logits_of(model, images, gradient=True)
    return outputs, times, logits, images


def _names(model: nn.Module) -> list[str]:
    """All layers; of a layer with `one_layer` set, as those of `biased` have, not its parts."""
    whole = [f"{name}." for name, each in model.named_modules() if hasattr(each, "one_layer")]
    return [name for name, _ in model.named_modules() if not name.startswith(tuple(whole))]


def _counts(output: _Output, logits: Tensor, size: torch.Size) -> bool:
    """Whether these are maps, larger than 1 x 1, whose mean is not the class score."""
    try:
        maps = as_maps(output.values.detach(), size, output.name)
    except ValueError:
        return False
    means = maps.mean(dim=(2, 3))
    scores = means.shape == logits.shape and torch.allclose(
        means, logits.detach(), rtol=0, atol=CLOSE * logits.abs().max().item()
    )
    return maps.shape[2] * maps.shape[3] > 1 and not scores


def _reaches(end: Node | None, start: Tensor, without: Node) -> bool:
    """Whether the scores would still depend on the images if this step gave constants."""
    waiting, seen = [end], {without}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if getattr(node, "variable", None) is start:
            return True
        seen.add(node)
        waiting += [earlier for earlier, _ in node.next_functions]
    return False


def _rank(output: _Output) -> tuple[bool, bool, int]:
    """In torchvision's chains of `features` a block is named, elsewhere the outermost layer."""
    block = re.fullmatch(r"(.*\.)?features\.\d+", output.name)
    return isinstance(output.module, SAME), not block, output.name.count(".")


def _is_read(model: nn.Module, image: Tensor, name: str) -> bool:
    """Whether the scores depend on the tokens of the picture, found by spoiling them with NaN."""

    def spoil(module: nn.Module, inputs: tuple, tokens: Tensor) -> Tensor:
        maps = as_maps(tokens, image.shape[1:], name)
        first = tokens.shape[1] - maps.shape[2] * maps.shape[3]
        return torch.cat([tokens[:, :first], torch.full_like(tokens[:, first:], torch.nan)], dim=1)

    with find_layer(model, name).register_forward_hook(spoil):
        output = forward_pass(model, image.detach()[None])
    try:
        checked_logits(output, 1)
    except ValueError:  # not finite
        return True
    return False
