"""Gradients of a class score with respect to the pixels.

Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks: Visualising Image
Classification Models and Saliency Maps", ICLR workshop 2014, https://arxiv.org/abs/1312.6034.
The score Y is the class logit, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labkit.explain.contract import check_image, check_model, logit, untouched


def input_gradient(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """How much the class logit moves for a unit step in each value of the image.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.

    Returns:
        `[C, H, W]`, signed, in logits per unit of the normalised image.
    """
    check_model(model)
    check_image(image)
    with torch.inference_mode(False), torch.enable_grad(), untouched(model):
        x = image.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(logit(model, x, target), x)
    return gradient


def sensitivity(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """The squared length of the gradient at each pixel: sum over channels of the squares.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.

    Returns:
        `[H, W]`, not negative, in squared logits per squared unit of the normalised image.
    """
    return input_gradient(model, image, target).square().sum(dim=0).float()


def saliency(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """The saliency map of Simonyan et al.: the largest absolute gradient among the channels.

    Args:
        model: the network.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.

    Returns:
        `[H, W]`, not negative, in logits per unit of the normalised image.
    """
    return input_gradient(model, image, target).abs().amax(dim=0).float()
