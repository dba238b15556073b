"""Gradients of a class score with respect to the pixels, and averages of them.

Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks: Visualising Image
Classification Models and Saliency Maps", ICLR workshop 2014, https://arxiv.org/abs/1312.6034.
The score Y is the class logit, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labkit.checks import check_count
from labkit.engine.batches import choose_batch_size, halving
from labkit.engine.contract import (
    as_image,
    check_image,
    check_model,
    gradient_of,
    logits_at,
    logits_of,
)

Explainer = Callable[..., Tensor]


def input_gradient(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """How much the class logit moves for a unit step in each value of the image.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.

    Returns:
        `[C, H, W]`, signed, in logits per unit of the normalised image.
    """
    return _gradient(model, image, target).contiguous()


def sensitivity(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """The squared length of the gradient at each pixel: sum over channels of the squares.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.

    Returns:
        `[H, W]`, not negative, in squared logits per squared unit of the normalised image.
    """
    return _squared_length(_gradient(model, image, target))


def saliency(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """The saliency map of Simonyan et al.: the largest absolute gradient among the channels.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.

    Returns:
        `[H, W]`, not negative, in logits per unit of the normalised image.
    """
    return _largest_channel(_gradient(model, image, target))


def gradient_times_input(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """What each pixel contributes to the best linear stand-in: gradient times value, summed.

    Shrikumar, Greenside, Shcherbina and Kundaje, "Not Just a Black Box: Learning Important
    Features Through Propagating Activation Differences", 2016, https://arxiv.org/abs/1605.01713.
    A pixel at zero, ImageNet's mean colour, contributes nothing, whatever it shows.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.

    Returns:
        `[H, W]`, signed, in logits.
    """
    return _times(_gradient(model, image, target), image)


def smoothgrad(
    model: nn.Module,
    image: Tensor,
    target: int,
    *,
    explain: Explainer = saliency,
    n_samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """The mean of an explainer's maps over noisy copies of the image.

    Smilkov, Thorat, Kim, Viégas and Wattenberg, "SmoothGrad: removing noise by adding noise", 2017,
    https://arxiv.org/abs/1706.03825. Differs from the paper: any explainer may be averaged;
    `explain=input_gradient` is the paper's own.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        explain: a method with settings of its own bound by `functools.partial`, such as
            `partial(gradcam, layer="features.29")`.
        n_samples: noisy copies.
        noise: standard deviation of the noise, as a share of the image's largest minus its
            smallest value.
        seed: which noise; the same at every batch size and on every device.
        batch_size: copies per pass; chosen from the device by default.
        progress: show a bar.

    Returns:
        What `explain` returns, averaged: `[H, W]`, or `[C, H, W]` for `input_gradient`.

    Raises:
        ValueError: noise is negative or not finite, or n_samples or batch_size is below 1.
    """
    check_model(model)
    check_image(image)
    check_count("n_samples", n_samples)
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a share of the image's range, 0 or more, got {noise}")
    size = choose_batch_size(image, batch_size)
    total = torch.zeros((), device=image.device)
    with tqdm(total=n_samples, desc="noisy copies", disable=not progress) as bar:
        copies = _noisy_copies(image.detach(), noise, n_samples, seed)
        while batch := list(islice(copies, size)):
            total = total + _explain_all(explain, model, torch.stack(batch), target).sum(dim=0)
            bar.update(len(batch))
    return total / n_samples


def integrated_gradients(
    model: nn.Module,
    image: Tensor,
    target: int,
    *,
    baseline: float | Tensor = 0.0,
    n_steps: int = 50,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """Share out a change in class score among the pixels, along the way from a baseline.

    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017,
    https://arxiv.org/abs/1703.01365. Differs from the paper: the gradient is taken in the middle of
    each step instead of at its end, which comes closer to the integral.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        baseline: what means "nothing": a number, a colour `[C, 1, 1]` or an image `[C, H, W]`, in
            normalised units. 0 is the mean colour of the training pictures.
        n_steps: gradients along the way.
        batch_size: steps per pass; chosen from the device by default.
        progress: show a bar.

    Returns:
        `[H, W]`, signed, in logits; sums to Y(image) - Y(baseline), the better the more steps.

    Raises:
        ValueError: the baseline does not fit or is not finite, or n_steps or batch_size is below 1.
        TypeError: one of them is of the wrong kind.
    """
    check_model(model)
    check_image(image)
    check_count("n_steps", n_steps)
    start = as_image(baseline, image)
    way = image.detach() - start
    middles = (torch.arange(n_steps, device=image.device, dtype=image.dtype) + 0.5) / n_steps
    total = torch.zeros_like(way)
    with tqdm(total=n_steps, desc="steps", disable=not progress) as bar:
        for t in middles.split(choose_batch_size(image, batch_size)):
            images = start + t[:, None, None, None] * way
            total += _gradients(model, images, [target] * len(t)).sum(dim=0)
            bar.update(len(t))
    return (way * total / n_steps).sum(dim=0).float()


def _gradient(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """dY/dx of one image `[C, H, W]`, laid out as the network likes it."""
    check_model(model)
    check_image(image)
    return _gradients(model, image[None], [target])[0]


def _gradients(model: nn.Module, images: Tensor, targets: Sequence[int]) -> Tensor:
    """dY/dx of each image `[N, C, H, W]`; in eval mode none sees another, so one sum will do."""

    def work(places: Tensor) -> Tensor:
        some = images[places].detach()
        x = some.clone(memory_format=torch.channels_last).requires_grad_()
        logits = logits_of(model, x, gradient=True)
        return gradient_of(logits_at(logits, [targets[i] for i in places.tolist()]).sum(), x)

    with torch.inference_mode(False), torch.enable_grad():
        return halving(work, torch.arange(len(images)))


def _squared_length(gradient: Tensor) -> Tensor:
    return gradient.square().sum(dim=-3).float()


def _largest_channel(gradient: Tensor) -> Tensor:
    return gradient.abs().contiguous().amax(dim=-3).float()  # channels apart: half the time


def _times(gradient: Tensor, image: Tensor) -> Tensor:
    return (gradient * image.detach()).sum(dim=-3).float()


# Maps that read nothing but gradient and image: many images are explained in one pass.
READS_GRADIENT = {
    input_gradient: lambda gradient, image: gradient.contiguous(),
    sensitivity: lambda gradient, image: _squared_length(gradient),
    saliency: lambda gradient, image: _largest_channel(gradient),
    gradient_times_input: _times,
}


def gradients_read(
    explain: Explainer, model: nn.Module, images: Tensor, targets: Sequence[int]
) -> Tensor:
    """What one of `READS_GRADIENT` says of images `[N, C, H, W]`, in one pass."""
    return READS_GRADIENT[explain](_gradients(model, images, targets), images)


def _explain_all(explain: Explainer, model: nn.Module, images: Tensor, target: int) -> Tensor:
    if explain in READS_GRADIENT:
        return gradients_read(explain, model, images, [target] * len(images))
    return torch.stack([explain(model, image, target) for image in images])


def _noisy_copies(image: Tensor, noise: float, n_samples: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sigma = noise * (image.max() - image.min())
    for _ in range(n_samples):
        drawn = torch.randn(image.shape, generator=generator)  # the same in every precision
        yield image + sigma * drawn.to(image)
