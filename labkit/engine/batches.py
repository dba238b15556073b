"""Many forward passes: the images' layout and the batch size are chosen here, nowhere else.

Convolutions on a CPU run up to twice as fast on pictures laid out channels last, in batches of 4
to 8; larger batches are slower there, because each needs fresh memory from the system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn

from labkit.engine.contract import check_target, logits_of, untouched

# What the black-box methods explain: a network with logits, or any function from images
# [N, C, H, W] to class probabilities [N, K].
BlackBox = nn.Module | Callable[[Tensor], object]

CPU_BATCH = 8
GPU_BATCH = 64
GPU_BYTES_PER_VALUE = 2000  # of VGG-16's activations with their gradients, for each input value


def check_count(name: str, count: int, minimum: int = 1) -> None:
    """Refuse what is not a whole number from `minimum` upwards.

    Raises:
        TypeError: count is not a whole number.
        ValueError: it is too small.
    """
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(f"{name} must be a whole number, got {count!r}; int(...) converts it")
    if count < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {count}")


def choose_batch_size(image: Tensor, batch_size: int | None = None) -> int:
    """How many images like this one `[C, H, W]` to run at once.

    Args:
        image: one of them.
        batch_size: the reader's own choice; None leaves it to the device.

    Raises:
        TypeError: batch_size is not a whole number.
        ValueError: batch_size is below 1.
    """
    if batch_size is not None:
        check_count("batch_size", batch_size)
        return int(batch_size)
    if image.device.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(image.device)
    return max(1, min(GPU_BATCH, free // (GPU_BYTES_PER_VALUE * image.numel())))


def laid_out(images: Tensor, *, copy: bool = False) -> Tensor:
    """The same images `[N, C, H, W]`, channels last in memory; copy: memory of their own."""
    lay_out = images.clone if copy else images.contiguous
    return lay_out(memory_format=torch.channels_last)


def halving(work: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """`work(images)`, in halves where the device has too little memory for all of them at once.

    Args:
        work: a function of images `[N, C, H, W]` that treats each by itself.
        images: `[N, C, H, W]`.

    Returns:
        What work returns, `[N, ...]`.

    Raises:
        torch.cuda.OutOfMemoryError: not even one image fits.
    """
    try:
        return work(images)
    except torch.cuda.OutOfMemoryError:
        if len(images) == 1:
            raise
    # Not within the handler: there the error still holds what was computed before it.
    return torch.cat([halving(work, half) for half in images.chunk(2)])


@contextmanager
def inference(model: BlackBox) -> Iterator[None]:
    """Forward passes only; a network comes back as it was."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if isinstance(model, nn.Module):
            stack.enter_context(untouched(model))
        yield


def class_probabilities(model: BlackBox, images: Tensor) -> Tensor:
    """Softmax of a network's logits, or what a function says itself.

    Args:
        model: a network, or a function that returns probabilities `[N, K]` as tensor or array.
        images: `[N, C, H, W]`.

    Returns:
        `[N, K]`, float, on the images' device.

    Raises:
        ValueError: the result is not `[N, K]`, or is not finite.
    """
    if isinstance(model, nn.Module):
        return halving(lambda some: _softmax(logits_of(model, laid_out(some))), images)
    rows = torch.as_tensor(model(images), device=images.device)
    if rows.ndim != 2 or len(rows) != len(images):
        raise ValueError(
            f"model must return one row of class probabilities for each image, [N, K], got "
            f"{list(rows.shape)} for {len(images)} image(s); return one row for each"
        )
    rows = rows.to(images.dtype)
    if not torch.isfinite(rows).all():
        raise ValueError(
            "model must return finite probabilities, got NaN or infinity; "
            "look at what it returns for the image itself"
        )
    return rows


def _softmax(logits: Tensor) -> Tensor:
    # Eight bits are not enough for probabilities near 1, nor for their differences.
    return logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))


def target_probability(model: BlackBox, images: Tensor, target: int) -> Tensor:
    """The probability `[N]` of one class; see `class_probabilities`."""
    rows = class_probabilities(model, images)
    check_target(target, rows.shape[1])
    return rows[:, target]
