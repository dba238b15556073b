"""What happens inside a network while it runs, and the way from its maps to the image's size."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.engine.contract import (
    check_image,
    check_model,
    forward_pass,
    gradient_of,
    logits_at,
    logits_of,
    single,
)

Layer = str | nn.Module
MOST_PREFIX_TOKENS = 5  # a class token and four registers, as in DINOv2


def find_layer(model: nn.Module, layer: Layer) -> nn.Module:
    """The module that a layer's name, or the module itself, stands for.

    Args:
        model: the network.
        layer: a name such as "features.28", or a module of the network.

    Raises:
        TypeError: layer is neither.
        ValueError: the network has no such layer, or is scripted.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ValueError(
            f"model must show its layers, got a scripted network ({type(model).__name__}), which "
            "cannot be watched; pass the network it was made from, or use a method without layers"
        )
    if isinstance(layer, nn.Module):
        if not any(layer is module for module in model.modules()):
            raise ValueError(
                f"layer must belong to the model, got a {type(layer).__name__} from elsewhere; "
                "pass its name instead, for example labkit.models.last_maps(model)"
            )
        return layer
    if not isinstance(layer, str):
        raise TypeError(f"layer must be a name or a module, got {type(layer).__name__}")
    try:
        return model.get_submodule(layer)
    except AttributeError:
        names = ", ".join(
            name for name, module in model.named_modules() if not list(module.children())
        )
        raise ValueError(
            f"layer must be one of the model's layers, got {layer!r}; its layers are {names}"
        ) from None


def activations_and_gradients(
    model: nn.Module, image: Tensor, target: int, layer: Layer
) -> tuple[Tensor, Tensor]:
    """A layer's output, and the gradient of the class logit with respect to it.

    The output becomes the start of the graph: nothing is differentiated below the layer, frozen
    parameters do not matter, and an in-place ReLU behind the layer works on a copy.

    Args:
        model: the network.
        image: `[C, H, W]`.
        target: the class index; the score is its logit.
        layer: a name or a module whose output `as_maps` takes.

    Returns:
        A `[K, h, w]` and dY/dA `[K, h, w]`, detached, in at least single precision.

    Raises:
        ValueError: the layer is not in the model, does not run exactly once, or has no spatial
            extent.
    """
    check_image(image)
    A, dY_dA = activations_and_gradients_of_each(model, image[None], [target], layer)
    return A[0], dY_dA[0]


def activations_and_gradients_of_each(
    model: nn.Module, images: Tensor, targets: Sequence[int], layer: Layer
) -> tuple[Tensor, Tensor]:
    """The same for images `[N, C, H, W]` with a class each: A and dY/dA, `[N, K, h, w]`.

    In eval mode no image sees another, so one backward pass from the sum of the logits will do.
    """
    check_model(model)
    size = images.shape[2:]
    outputs: list[Tensor] = []

    def start_graph_here(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        as_maps(output, size, layer)
        outputs.append(output.detach().clone().requires_grad_())
        return outputs[-1].clone()

    hook = find_layer(model, layer).register_forward_hook(start_graph_here)
    with hook, torch.inference_mode(False), torch.enable_grad():
        scores = logits_at(logits_of(model, images.detach(), gradient=True), targets)
        _check_ran_once(len(outputs), layer)
        gradient = gradient_of(scores.sum(), outputs[0])
    return as_maps(single(outputs[0].detach()), size, layer), as_maps(gradient, size, layer)


def activations(model: nn.Module, images: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
    """The outputs of several layers, in one forward pass and without gradients.

    Args:
        model: the network.
        images: `[N, C, H, W]`.
        layers: names or modules.

    Returns:
        One detached copy of each layer's output, in the order of `layers`.

    Raises:
        ValueError: a layer is not in the model or does not run exactly once.
    """
    check_model(model)
    with recorded(model, layers) as outputs:
        forward_pass(model, images)
    return outputs


def upsample(relevance: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge a map `[h, w]`, or each of many, to `[H, W]`, bilinearly, pixels taken as areas.

    `align_corners=False` is what the picture's own resizing does; with True the map would shift
    against the picture by up to half a cell.
    """
    maps = relevance.reshape(-1, 1, *relevance.shape[-2:])
    large = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return large.view(*relevance.shape[:-2], *size)


def receptive_field(model: nn.Module, image: Tensor, layer: Layer) -> tuple[int, int]:
    """Height and width, in pixels, of what the unit in the middle of a layer sees of the image.

    Found by trial: where NaN in the image makes the unit NaN, the unit sees it.

    Args:
        model: the network.
        image: `[C, H, W]`; the field ends at its borders.
        layer: a name or a module whose output `as_maps` takes.

    Returns:
        (height, width), at most (H, W).

    Raises:
        ValueError: the layer is not in the model, does not run exactly once, or has no spatial
            extent.
    """
    check_image(image)
    height, width = (_seen_length(model, image.detach(), layer, axis) for axis in (1, 2))
    return height, width


def _seen_length(model: nn.Module, image: Tensor, layer: Layer, axis: int) -> int:
    """How many rows (axis 1) or columns (axis 2) the layer's middle unit sees."""
    places = torch.arange(image.shape[axis], device=image.device)

    def sees(hidden: Tensor) -> bool:
        spoiled = image.index_fill(axis, hidden, torch.nan)
        (maps,) = activations(model, spoiled[None], [layer])
        maps = as_maps(maps, image.shape[1:], layer)
        return bool(maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].isnan().any())

    n = len(places)
    before = bisect_left(range(n), True, key=lambda i: sees(places[: i + 1]))
    after = bisect_left(range(n), True, key=lambda i: sees(places[n - 1 - i :]))
    return max(0, n - before - after)


@contextmanager
def recorded(model: nn.Module, layers: Sequence[Layer]) -> Iterator[list[Tensor]]:
    """Record what layers give in the one forward pass that is run within.

    Args:
        model: the network.
        layers: names or modules.

    Yields:
        A list that holds, after the pass, each layer's output, part of the graph if there is one.

    Raises:
        ValueError: a layer is not in the model or did not run exactly once.
    """
    seen: list[list[Tensor]] = [[] for _ in layers]
    outputs: list[Tensor] = []
    with ExitStack() as stack:
        for layer, of_layer in zip(layers, seen, strict=True):
            stack.enter_context(find_layer(model, layer).register_forward_hook(_keep_in(of_layer)))
        yield outputs
    for layer, of_layer in zip(layers, seen, strict=True):
        _check_ran_once(len(of_layer), layer)
        outputs.extend(of_layer)


def _keep_in(seen: list) -> Callable[[nn.Module, tuple, object], None]:
    # Cloned, because an in-place ReLU behind the layer would overwrite it.
    return lambda module, inputs, output: seen.append(
        output.clone() if isinstance(output, Tensor) else output
    )


def as_maps(output: object, size: Sequence[int], layer: Layer) -> Tensor:
    """A layer's output as feature maps `[N, K, h, w]`, where it can be read as such.

    Maps whose channels come last, `[N, h, w, K]` as in Swin, are turned. Tokens `[N, T, K]`, as in
    a vision transformer, are laid out row by row; the class token, and others that come before
    those of the picture, are left out.

    Args:
        output: what the layer gave.
        size: (H, W) of the image; the maps have its proportions.
        layer: for the error's text.

    Raises:
        ValueError: the layer gave something else.
    """
    if isinstance(output, Tensor) and output.ndim == 4:
        _, a, b, c = output.shape
        last = not _fits(b, c, size) and _fits(a, b, size) and c > max(a, b)
        return output.permute(0, 3, 1, 2) if last else output
    if isinstance(output, Tensor) and output.ndim == 3 and (grid := _grid(output.shape[1], size)):
        h, w = grid
        return output[:, output.shape[1] - h * w :].mT.unflatten(2, (h, w))
    got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise ValueError(
        f"layer must give feature maps [N, K, h, w], got {got} from {_name(layer)}; "
        "pick one before the maps are flattened, for example labkit.models.last_maps(model)"
    )


def _fits(h: int, w: int, size: Sequence[int]) -> bool:
    """Whether maps of h x w places have the image's proportions, up to a place at the border."""
    return abs(h * size[1] - w * size[0]) <= max(size)


def _grid(n_tokens: int, size: Sequence[int]) -> tuple[int, int] | None:
    """Rows and columns of so many tokens, some of which may stand for no place; None without."""
    for places in range(n_tokens, max(n_tokens - MOST_PREFIX_TOKENS, 4) - 1, -1):
        h = round((places * size[0] / size[1]) ** 0.5)
        if h and places % h == 0 and _fits(h, places // h, size):
            return h, places // h
    return None


def _check_ran_once(times: int, layer: Layer) -> None:
    if times != 1:
        raise ValueError(
            f"layer must run exactly once in a forward pass, but {_name(layer)} ran {times} times; "
            "pick the block around it"
        )


def _name(layer: Layer) -> str:
    return repr(layer) if isinstance(layer, str) else type(layer).__name__
