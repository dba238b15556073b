"""The one shape that every explainer has: its checks, its error texts, and its forward pass.

    relevance = method(model, image, target, *, settings)   # [H, W]

model: maps `[N, C, H, W]` to logits `[N, K]`; one logit y means two classes with the logits -y/2
    and y/2, so that the second one's probability is the sigmoid of y. `.logits` and `["logits"]` of
    an output are read, and `[N, K, 1, 1]` is flattened. It is run in eval mode, in its own
    precision, without torch.compile, and comes back as it was.
image: `[C, H, W]`, floating point, normalised as the model expects; never changed.
target: the class index, from 0 to K - 1.
relevance: `[H, W]`, float32, on the image's device, detached and raw: not normalised, not clipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from inspect import Parameter, signature
from itertools import chain
from numbers import Integral, Real
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")
ENDS_IN_SOFTMAX = 0.01  # rows of logits whose sums are as near to 1 are probabilities


def check_model(model: nn.Module) -> None:
    """Refuse what is not a network.

    Raises:
        TypeError: model is no `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; "
            "load one with labkit.models.load_model(...)"
        )


def check_image(image: Tensor) -> None:
    """Refuse what is not one prepared image.

    Raises:
        TypeError: image is no floating-point tensor.
        ValueError: image is not `[C, H, W]`, is empty, or holds NaN or infinity.
    """
    if not isinstance(image, Tensor):
        raise TypeError(
            f"image must be a torch.Tensor of shape [C, H, W], got {type(image).__name__}; "
            "turn a picture into one with model.prepare(picture)"
        )
    if image.ndim != 3 or image.numel() == 0:
        hint = (
            "; pass one image, without its batch dimension (images[0])" if image.ndim == 4 else ""
        )
        raise ValueError(f"image must have shape [C, H, W], got {list(image.shape)}{hint}")
    if not image.is_floating_point():
        raise TypeError(
            f"image must hold floating-point numbers, got {image.dtype}; "
            "turn a picture into an image with model.prepare(picture)"
        )
    if not all(math.isfinite(end) for end in image.detach().aminmax()):
        raise ValueError(
            "image must be finite, got NaN or infinity; look at image.isfinite() to find where"
        )


def check_target(target: int, n_classes: int, name: str = "target") -> None:
    """Refuse what is not a class of the network.

    Args:
        target: what should be a class index.
        n_classes: K.
        name: what the caller calls it, for the error's text.

    Raises:
        TypeError: target is not a whole number.
        IndexError: target is not one of the classes.
    """
    if isinstance(target, bool) or not isinstance(target, Integral):
        raise TypeError(
            f"{name} must be a class index (int), got {type(target).__name__}; "
            "model.classes.index(name) finds it, int(tensor) converts it"
        )
    if not 0 <= target < n_classes:
        raise IndexError(
            f"{name} must be a class index from 0 to {n_classes - 1}, got {target}; "
            "model.predict(image) lists the likely ones"
        )


def forward_pass(model: nn.Module, images: Tensor, *, gradient: bool = False) -> object:
    """Run the network once. Every forward pass of labkit comes through here.

    The network runs in eval mode and frozen, and comes back as it was, whatever happens: frozen
    parameters spare the backward pass the weight gradients, about a third of its time. It gets a
    copy of the images in its own precision, so that it may work in place. On a CPU convolutions run
    up to twice as fast on images laid out channels last, as the copy is.

    Args:
        model: the network.
        images: `[N, C, H, W]`.
        gradient: record what a backward pass needs.

    Returns:
        What the network returns.

    Raises:
        ValueError: the network cannot run on such images.
    """
    with torch.inference_mode(False), torch.set_grad_enabled(gradient), untouched(model):
        own = images.to(precision_of(model) or images.dtype)
        try:
            return model(own.clone(memory_format=torch.channels_last))
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, AssertionError, AttributeError, LookupError) as error:
            reason = (str(error) or type(error).__name__).strip().partition("\n")[0]
            raise ValueError(
                f"model must run on a batch of images alone, got {list(images.shape)} and it "
                f"stopped ({reason}); give it images of the channels and the size that it takes, "
                "and wrap a network with further inputs in a module that adds them"
            ) from error


def precision_of(model: nn.Module) -> torch.dtype | None:
    """The floating-point type of the network's first weights; None where it has none."""
    weights = chain(model.parameters(), model.buffers())  # mostly the first of them is one
    return next((each.dtype for each in weights if each.is_floating_point()), None)


def logits_of(model: nn.Module, images: Tensor, *, gradient: bool = False) -> Tensor:
    """Run the network, and check that what comes out are logits.

    Args:
        model: the network.
        images: `[N, C, H, W]`.
        gradient: record what a backward pass needs.

    Returns:
        `[N, K]`, K at least 2.

    Raises:
        ValueError: the model returns something else, numbers that are not finite, or
            probabilities.
    """
    return checked_logits(forward_pass(model, images, gradient=gradient), len(images))


def said_by(output: object) -> object:
    """What may be logits in an output: itself, or its `.logits` or `["logits"]`, flattened."""
    found: object = getattr(output, "logits", output)
    if isinstance(output, Mapping):
        found = output.get("logits", output)
    if isinstance(found, Tensor) and found.ndim == 4 and found.shape[2:] == (1, 1):
        return found.flatten(1)
    return found


def checked_logits(output: object, n_images: int) -> Tensor:
    """The logits `[N, K]` in what a network returned for so many images.

    Raises:
        ValueError: there are none.
    """
    found = said_by(output)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != n_images:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"model must return logits of shape [N, K], got {got} for {n_images} image(s); "
            "wrap it in a module that returns the tensor of class scores alone"
        )
    logits = found.dequantize() if found.is_quantized else found
    if not torch.isfinite(logits).all():
        raise ValueError(
            "model must return finite logits, got NaN or infinity; "
            "check that the image is normalised as the model expects"
        )
    if logits.shape[1] == 1:
        return torch.cat([-logits, logits], dim=1) / 2
    if (logits >= 0).all() and (logits.detach().sum(dim=1) - 1).abs().max() < ENDS_IN_SOFTMAX:
        raise ValueError(
            "model must return logits, got rows of probabilities that sum to 1; take the softmax "
            "off its end, or explain `lambda images: model(images)` by occlusion, RISE or LIME"
        )
    return logits


def gradient_of(score: Tensor, inputs: Tensor, *, keep: bool = False) -> Tensor:
    """The gradient of a score, a number, in at least single precision; shaped like the inputs.

    Args:
        score: computed from the inputs.
        inputs: any tensor.
        keep: the graph, for another backward pass.

    Raises:
        ValueError: the score does not depend on them, or not in a way that torch can follow.
    """
    check_followed(score.requires_grad)
    (found,) = torch.autograd.grad(score, inputs, retain_graph=keep, allow_unused=True)
    check_followed(found is not None)
    return single(found)


def check_followed(there: bool) -> None:
    """Refuse a network whose class score has no gradient.

    Raises:
        ValueError: there is none.
    """
    if not there:
        raise ValueError(
            "model must compute the class score from its images and layers with a gradient, got "
            "none: its forward uses torch.no_grad or detach, it is quantised, or the score does "
            "not read the layer; take that out, or use occlusion, RISE or LIME"
        )


def single(values: Tensor) -> Tensor:
    """The same numbers in at least single precision, where squares and sums keep their digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def logit(model: nn.Module, image: Tensor, target: int, *, gradient: bool = False) -> Tensor:
    """The score Y that the gradient methods explain: one logit, before any softmax."""
    return logits_at(logits_of(model, image[None], gradient=gradient), [target])[0]


def logits_at(logits: Tensor, targets: Sequence[int]) -> Tensor:
    """`[N]`: of the logits `[N, K]` those of one class for each image."""
    for target in targets:
        check_target(target, logits.shape[1])
    return logits[torch.arange(len(targets)), list(targets)]


def as_image(baseline: float | Tensor, image: Tensor, *, words: tuple[str, ...] = ()) -> Tensor:
    """A baseline, what stands for "nothing", as an image `[C, H, W]`.

    Args:
        baseline: a number, a colour `[C, 1, 1]` or an image `[C, H, W]`, in normalised units.
        image: `[C, H, W]`, whose place it takes.
        words: what else the caller takes, for the error's text.

    Raises:
        TypeError: it is neither a number nor a tensor.
        ValueError: it does not fit the image, or is not finite.
    """
    if isinstance(baseline, bool) or not isinstance(baseline, Real | Tensor):
        *kinds, last = ["a number", "a tensor", *map(repr, words)]
        raise TypeError(
            f"baseline must be {', '.join(kinds)} or {last}, got {type(baseline).__name__}; "
            "0.0 is the mean colour of the training pictures"
        )
    nothing = torch.as_tensor(baseline).detach().to(image)
    if not torch.isfinite(nothing).all():
        raise ValueError(
            "baseline must be finite, got NaN or infinity; torch.isfinite(baseline) shows where"
        )
    try:
        return nothing.broadcast_to(image.shape)
    except RuntimeError:
        raise ValueError(
            f"baseline must be a number, a colour [{len(image)}, 1, 1] or an image "
            f"{list(image.shape)}, got {list(nothing.shape)}; color[:, None, None] makes a colour "
            "fit"
        ) from None


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, frozen and not compiled; afterwards as it was, whatever happened."""
    modes = [(module, module.training) for module in model.modules()]
    learnable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        if any(training for _, training in modes):
            model.eval()
        for parameter in learnable:
            parameter.requires_grad_(False)
        with _uncompiled(model):
            yield
    finally:
        for module, training in modes:
            if module.training != training:  # to set it takes a module far longer than to look
                module.training = training
        for parameter in learnable:
            parameter.requires_grad_(True)


def _uncompiled(model: nn.Module) -> AbstractContextManager:
    """Where the network is compiled: its own steps, in which layers can be watched."""
    compiled = any("_orig_mod" in m._modules or m._compiled_call_impl for m in model.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def settings_of(
    source: Callable, *, without: Sequence[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function that hands `**settings` on the keyword arguments of the one that takes them.

    Settings are so written once; help() and `inspect.signature` show them, and an unknown one is an
    error of the function that was called.

    Args:
        source: the function that takes the settings.
        without: those of its settings that are not offered.
    """
    offered = [
        parameter
        for name, parameter in signature(source).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY and name not in without
    ]

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        *own, _ = signature(function).parameters.values()  # the last one is **settings
        known = {parameter.name for parameter in own}
        others = [parameter for parameter in offered if parameter.name not in known]
        whole = signature(function).replace(parameters=[*own, *others])

        @wraps(function)
        def checked(*arguments: P.args, **settings: P.kwargs) -> R:
            whole.bind(*arguments, **settings)
            return function(*arguments, **settings)

        checked.__signature__ = whole  # type: ignore[attr-defined]  # what inspect looks for
        return checked

    return decorated
