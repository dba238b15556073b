"""Many forward passes: the batch size is chosen here, nowhere else.

On a CPU batches of 4 to 8 are fastest; larger ones need fresh memory from the system each time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.checks import check_count
from labkit.engine.contract import check_target, logits_of, single

# What the black-box methods explain: a network with logits, or any function from images
# [N, C, H, W] to class probabilities [N, K].
BlackBox = nn.Module | Callable[[Tensor], object]

ROUNDING = (
    0.01  # a function's probabilities may lie beyond 0 and 1 by so much, as in half precision
)
CPU_BATCH = 4  # of eight, EfficientNet-Lite0's wide first blocks leave a core's cache
GPU_BATCH = 64
GPU_BYTES_PER_VALUE = 2000  # of VGG-16's activations with their gradients, for each input value


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


def class_probabilities(model: BlackBox, images: Tensor, *, gradient: bool = False) -> Tensor:
    """Softmax of a network's logits, or what a function says itself.

    Args:
        model: a network, or a function that returns probabilities `[N, K]` as tensor or array.
        images: `[N, C, H, W]`.
        gradient: record what a backward pass needs.

    Returns:
        `[N, K]`, float, on the images' device.

    Raises:
        TypeError: model is neither a network nor a function.
        ValueError: the result is not `[N, K]`, is not finite, or is no probabilities.
    """
    with torch.inference_mode(False), torch.set_grad_enabled(gradient):
        if isinstance(model, nn.Module):
            return halving(lambda some: _softmax(logits_of(model, some, gradient=gradient)), images)
        if not callable(model):
            raise TypeError(
                "model must be a network, or a function from images [N, C, H, W] to class "
                f"probabilities [N, K], got {type(model).__name__}"
            )
        rows = torch.as_tensor(model(images.clone()), device=images.device)
    if rows.ndim != 2 or len(rows) != len(images):
        raise ValueError(
            f"model must return one row of class probabilities for each image, [N, K], got "
            f"{list(rows.shape)} for {len(images)} image(s); return one row for each"
        )
    rows = single(rows.to(images.dtype))
    if not torch.isfinite(rows).all():
        raise ValueError(
            "model must return finite probabilities, got NaN or infinity; "
            "look at what it returns for the image itself"
        )
    low, high = (end.item() for end in rows.detach().aminmax())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"model must return probabilities, from 0 to 1, got {low:.3g} to {high:.3g}; turn "
            "scores into probabilities, such as with .softmax(dim=1), or pass the network itself"
        )
    return rows


def _softmax(logits: Tensor) -> Tensor:
    return single(logits).softmax(dim=1)


def target_probability(model: BlackBox, images: Tensor, target: int) -> Tensor:
    """The probability `[N]` of one class; see `class_probabilities`."""
    rows = class_probabilities(model, images)
    check_target(target, rows.shape[1])
    return rows[:, target]
