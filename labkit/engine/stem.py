"""The gradient of a network's first convolution with respect to the images.

That convolution reads three channels. Its gradient has three as well, and torch's kernels for the
CPU, which work on eight or sixteen channels at a time, then take several times as long as for the
forward pass. Here a block of pixels becomes the channels of one place: the gradient of all pixels
of a block is an ordinary convolution of the gradient that arrives, 64 channels to 12, say, and
the blocks are laid out again behind it. The sums are the same, in another order.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# Elsewhere torch's own kernels are as fast, or faster: with many channels to learn the gradient of,
# and with few that it comes from.
AT_MOST_IN, AT_LEAST_OUT = 4, 32


def fast_stem(model: nn.Module) -> AbstractContextManager:
    """`FastStem` where the first convolution is one that it is for: watching has a price."""
    first = next((weight.shape for weight in model.parameters() if weight.ndim == 4), None)
    return FastStem() if first and _reads_images(first) else nullcontext()


class FastStem(TorchFunctionMode):
    """Within it, convolutions of images learn their gradient for the images alone, in less time.

    Their weights are taken as constant. Everything but plain convolutions from few channels to
    many, on a CPU, goes its usual way.
    """

    def __torch_function__(
        self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func is torch.conv2d and not kwargs and len(args) == 7 and _is_stem(*args):
            images, weight, bias, (stride, _), padding, *_ = args
            constants = weight.detach(), None if bias is None else bias.detach()
            return _Stem.apply(images, *constants, stride, padding)
        return func(*args, **(kwargs or {}))


def _reads_images(weight: torch.Size) -> bool:
    return weight[1] <= AT_MOST_IN and weight[0] >= AT_LEAST_OUT


def _is_stem(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: object,
    padding: object,
    dilation: object,
    groups: int,
) -> bool:
    return (
        images.device.type == "cpu"
        and images.ndim == 4
        and _reads_images(weight.shape)
        and groups == 1
        and isinstance(stride, tuple)
        and stride[0] == stride[1]
        and isinstance(padding, tuple)  # not "same"
        and dilation == (1, 1)
    )


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry = images.shape[2:], stride, padding
        return F.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return convolution_gradient(gradient, *ctx.saved_tensors, *ctx.geometry), *[None] * 4


def convolution_gradient(
    gradient: Tensor,
    weight: Tensor,
    size: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
) -> Tensor:
    """The gradient of a convolution with respect to its input.

    Args:
        gradient: `[N, K, h, w]`, with respect to its output.
        weight: `[K, C, kh, kw]`.
        size: height and width of the input.
        stride: the same along both.
        padding: of zeros, along height and along width.

    Returns:
        `[N, C, H, W]`.
    """
    block = stride * math.ceil(2 / stride)  # pixels; at least two, to have channels enough
    rows, columns = (
        _Axis(kernel, stride, pad, block, side_in, side_out)
        for kernel, pad, side_in, side_out in zip(
            weight.shape[2:], padding, size, gradient.shape[2:], strict=True
        )
    )
    taps = [axis.taps().to(weight) for axis in (rows, columns)]
    blockwise = torch.einsum("ocyx,yat,xbu->abcotu", weight, *taps).flatten(0, 2)
    maps = F.conv2d(
        gradient,
        blockwise.contiguous(memory_format=torch.channels_last),
        stride=block // stride,
        padding=(rows.margin, columns.margin),
    )
    pixels = maps[:, :, rows.blocks, columns.blocks].permute(0, 2, 3, 1)
    pixels = pixels.unflatten(3, (block, block, -1)).transpose(2, 3)  # [N, rows, a, columns, b, C]
    pixels = pixels.flatten(3, 4).flatten(1, 2)
    return pixels[:, : size[0], : size[1]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Axis:
    """Along one axis, the outputs of a convolution that each block of its inputs goes into."""

    kernel: int
    stride: int
    padding: int
    block: int
    size_in: int
    size_out: int

    @property
    def first(self) -> int:
        """The first output that reads of block 0, which may lie outside."""
        return math.ceil((self.padding - self.kernel + 1) / self.stride)

    @property
    def reach(self) -> int:
        """How many outputs in a row read of a block."""
        return (self.block - 1 + self.padding) // self.stride - self.first + 1

    @property
    def step(self) -> int:
        """Outputs from one block to the next."""
        return self.block // self.stride

    @property
    def margin(self) -> int:
        """Zeros before and behind the outputs, so that each block finds all that it looks for."""
        behind = (self._n_blocks - 1) * self.step + self.first + self.reach - self.size_out
        margin = max(-self.first, behind, 0)
        return margin + -(margin + self.first) % self.step

    @property
    def blocks(self) -> slice:
        """Those of the input, among what the convolution returns."""
        skipped = (self.margin + self.first) // self.step
        return slice(skipped, skipped + self._n_blocks)

    @property
    def _n_blocks(self) -> int:
        return math.ceil(self.size_in / self.block)

    def taps(self) -> Tensor:
        """`[kernel, block, reach]`: 1 where a weight takes that pixel to that output."""
        pixel = torch.arange(self.block)[:, None] + self.padding
        output = torch.arange(self.reach) + self.first
        weights = pixel - self.stride * output  # [block, reach]
        return (weights == torch.arange(self.kernel)[:, None, None]).float()
