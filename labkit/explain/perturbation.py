"""Learned perturbations: a small network learns to change the picture until the class is gone.

"Deep Explanation: Using AI for Explaining the Results of AI",
https://github.com/roberto1648/deep-explanation-using-ai-for-explaining-the-results-of-ai, which
extends Fong and Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation",
ICCV 2017, https://arxiv.org/abs/1704.03296; theirs is `learn_mask`. Names: G the generator, x the
image, x' the perturbed image, m the mask, f the softmax probability of the class.

Differs from the source: G starts as the identity; the image enters G shifted to begin at zero,
where a ReLU lets it pass; Adam takes smaller steps and forgets large gradients sooner; the distance
weighs less; what is kept is the step with the lowest loss, not the last; it stops when it has
settled; the change may be kept smooth or small.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import trange

from labkit.checks import check_choice, check_count
from labkit.engine.batches import class_probabilities
from labkit.engine.contract import (
    as_image,
    check_image,
    check_model,
    check_target,
    gradient_of,
    settings_of,
)
from labkit.engine.hooks import upsample

STARTS = ("identity", "random")
# Of past gradients Adam remembers ten steps' worth. The first ones are hundreds of times as large
# as those that follow, and a long memory of them would all but stop the way back to the image.
BETAS = (0.9, 0.9)
SETTLED = 0.01  # a fall of the lowest loss by less than this share is none
BLUR = 0.05  # standard deviation of the mask's blur, as a share of the image's shorter side

# x' `[1, C, H, W]`, what it costs, and what of it to keep.
Changed = tuple[Tensor, Tensor, Tensor]


class _Step(NamedTuple):
    """The loss f + cost at a step, the class probabilities `[K]` of x', and what was learned."""

    loss: float
    scores: Tensor
    learned: Tensor


class Perturbation(NamedTuple):
    """What was learned: the step with the lowest loss, and how the S steps so far went.

    image: `[C, H, W]`, x.
    perturbed: `[C, H, W]`, x'.
    target: the class index.
    scores_before: `[K]`, the class probabilities of the image.
    scores_after: `[K]`, those of the perturbed image.
    losses: `[S]`, the loss at each step.
    probabilities: `[S]`, its first part, the target's probability.
    distances: `[S]`, mean |x - x'|; times l1 its second part.
    """

    image: Tensor
    perturbed: Tensor
    target: int
    scores_before: Tensor
    scores_after: Tensor
    losses: Tensor
    probabilities: Tensor
    distances: Tensor

    @property
    def drop(self) -> float:
        """How many times as large the target's probability was before."""
        return (self.scores_before[self.target] / self.scores_after[self.target]).item()


class PerturbationGenerator(nn.Module):
    """One small convolution, applied again and again: a picture goes in, a picture comes out.

    Its output is scaled to the range of its input, from the smallest to the largest value of all
    channels. An output that is the same everywhere becomes the smallest value.
    """

    def __init__(
        self,
        kernel_size: int = 3,
        n_blocks: int = 3,
        n_layers: int = 3,
        *,
        channels: int = 3,
        start: str = "identity",
        seed: int = 0,
    ) -> None:
        """Set up the convolution.

        Args:
            kernel_size: its side in pixels; an even one is made odd, so that it has a centre.
            n_blocks: how often the block is applied; it ends with a ReLU.
            n_layers: how often the convolution is applied in a block.
            channels: C, of the images.
            start: "identity" lets the image pass unchanged; "random" draws weights as torch does.
            seed: which random weights.

        Raises:
            ValueError: a count is below 1, or start is unknown.
            TypeError: a count is not a whole number.
        """
        counts = {"kernel_size": kernel_size, "n_blocks": n_blocks, "n_layers": n_layers}
        for name, count in counts.items():
            check_count(name, count)
        check_choice("start", start, STARTS)
        super().__init__()
        self.n_blocks, self.n_layers = n_blocks, n_layers
        side = kernel_size + 1 - kernel_size % 2
        # Without its own initialisation, which would draw from torch's global generator.
        self.conv = nn.utils.skip_init(nn.Conv2d, channels, channels, side, padding=side // 2)
        if start == "identity":
            nn.init.dirac_(self.conv.weight)
            nn.init.zeros_(self.conv.bias)
        else:
            bound = self.conv.weight[0].numel() ** -0.5
            generator = torch.Generator().manual_seed(seed)
            for parameter in (self.conv.weight, self.conv.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """Perturbed images, `[N, C, H, W]` like the images, each in its own range."""
        least, span = _range(images)
        maps = images - least
        for _ in range(self.n_blocks):
            for _ in range(self.n_layers):
                maps = self.conv(maps)
            maps = maps.relu()
        darkest, contrast = _range(maps)
        shares = (maps - darkest) / torch.where(contrast > 0, contrast, 1)  # from 0 to 1
        return least + span * shares


def perturbation_steps(
    model: nn.Module,
    image: Tensor,
    target: int,
    *,
    kernel_size: int = 3,
    n_blocks: int = 3,
    n_layers: int = 3,
    steps: int = 1000,
    lr: float = 0.0003,
    l1: float = 0.03,
    smoothness: float = 0.0,
    amplitude: float | None = None,
    start: str = "identity",
    patience: int | None = 100,
    seed: int = 0,
    every: int = 10,
    progress: bool = False,
) -> Iterator[Perturbation]:
    """Watch `learn_perturbation` learn: what it would return so far, every few steps.

    The other arguments and the errors are those of `learn_perturbation`, whose result is the last
    state. Between two states, and when the loop is left early, the model is as it was.

    Args:
        model: the network; it learns nothing.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        every: steps from one state to the next; the last step always gives one.

    Returns:
        An iterator over `Perturbation`.
    """
    _check(model, image, steps=steps, every=every)
    if patience is not None:
        check_count("patience", patience)
    _check_costs(lr, l1=l1, smoothness=smoothness)
    if amplitude is not None and not 0 < amplitude < float("inf"):
        raise ValueError(f"amplitude must be a positive number, got {amplitude}; None is no bound")
    with torch.inference_mode(False):
        x = _alone(image)
        G = PerturbationGenerator(
            kernel_size, n_blocks, n_layers, channels=len(image), start=start, seed=seed
        )
        G = G.to(memory_format=torch.channels_last).to(image.device)

    def change() -> Changed:
        difference = G(x) - x
        if amplitude is not None:
            difference = amplitude * torch.tanh(difference / amplitude)
        cost = l1 * difference.abs().mean()
        if smoothness:  # times 0 it would take its time all the same
            cost = cost + smoothness * _total_variation(difference)
        perturbed = (x + difference).to(image.dtype)
        return perturbed, cost, perturbed[0]

    adam = torch.optim.Adam(G.parameters(), lr=lr, betas=BETAS)
    descent = _descent(model, target, change, adam, steps, progress)
    return _states(model, image.detach(), target, descent, steps, every, patience)


@settings_of(perturbation_steps, without=["every"])
def learn_perturbation(
    model: nn.Module, image: Tensor, target: int, **settings: Any
) -> Perturbation:
    """Change the image as little as can be, so that the class disappears.

    Adam learns the weights of a `PerturbationGenerator` on this one image. It minimises

        f(x') + l1 * mean |x - x'| + smoothness * (total variation of x' - x, per value).

    Common mistake: to take what has changed for what the network looked at. Without smoothness or
    amplitude, the change may be a pattern that fools this network and no other.

    Args:
        model: the network; it learns nothing.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        kernel_size: side of the generator's convolution, in pixels; an even one is made odd.
        n_blocks: blocks of the generator, each with a ReLU at its end.
        n_layers: convolutions in a block.
        steps: S, at most; each takes a forward and a backward pass.
        lr: Adam's step. At 0.01 the first step leaves the image so far behind that few come back.
        l1: what a change by one unit of the normalised image costs, on average over all values.
        smoothness: what rapid changes of the perturbation from pixel to pixel cost.
        amplitude: no value changes by more, in units of the normalised image; None sets no bound.
        start: the generator's first weights: "identity" starts from the image itself, "random"
            from something far from it, where a channel may be lost behind a ReLU and never return.
        patience: stop once the lowest loss has fallen by less than a hundredth in so many steps;
            None never stops early.
        seed: which random start.
        progress: show a bar.

    Returns:
        The perturbed image with the lowest loss, the scores before and after, and the losses.

    Raises:
        ValueError: a setting is out of its range, or the perturbed image overflows.
        TypeError: a count is not a whole number, or the model is no network.
        IndexError: target is not one of the classes.
    """
    *_, last = perturbation_steps(model, image, target, every=sys.maxsize, **settings)
    return last


def learn_mask(
    model: nn.Module,
    image: Tensor,
    target: int,
    *,
    baseline: float | Tensor | None = None,
    cells: int = 28,
    steps: int = 200,
    lr: float = 0.1,
    area: float = 0.3,
    smoothness: float = 1.0,
    progress: bool = False,
) -> Tensor:
    """Delete as little of the image as can be, so that the class disappears.

    Fong and Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV
    2017, https://arxiv.org/abs/1704.03296. A coarse mask m, enlarged, blends the image with what
    stands for nothing: x' = m x + (1 - m) baseline. Adam minimises

        f(x') + area * mean (1 - m) + smoothness * (total variation of m, cubed, per cell).

    Differs from the paper: the mask starts from one, nothing deleted; the image is not jittered;
    the mask with the lowest loss is kept, not the last; the terms have weights of our own.

    Args:
        model: the network; it learns nothing.
        image: `[C, H, W]`, normalised as the model expects.
        target: the class index.
        baseline: what takes the place of what is deleted: a number, a colour `[C, 1, 1]` or an
            image `[C, H, W]`, in normalised units; by default the image, blurred. 0 deletes down to
            the mean colour.
        cells: cells of the mask along each side.
        steps: each takes a forward and a backward pass.
        lr: Adam's step.
        area: what deleting the whole image costs.
        smoothness: what rapid changes of the mask from cell to cell cost.
        progress: show a bar.

    Returns:
        1 - m, `[H, W]`, from 0, kept, to 1, deleted.

    Raises:
        ValueError: a setting is out of its range, or the baseline does not fit or is not finite.
        TypeError: a count is not a whole number, or the model is no network.
        IndexError: target is not one of the classes.
    """
    _check(model, image, cells=cells, steps=steps)
    _check_costs(lr, area=area, smoothness=smoothness)
    nothing = _blurred(image) if baseline is None else as_image(baseline, image)
    with torch.inference_mode(False):
        x, nothing = (_alone(part) for part in (image, nothing))
        m = torch.ones(cells, cells, device=image.device, requires_grad=True)

    def change() -> Changed:
        with torch.no_grad():
            m.clamp_(0, 1)  # Adam may have stepped out
        deleted = upsample(1 - m, image.shape[1:])  # [H, W]
        cost = area * deleted.mean() + smoothness * _total_variation(m, power=3)
        return (x + deleted * (nothing - x)).to(image.dtype), cost, deleted

    adam = torch.optim.Adam([m], lr=lr)
    descent = _descent(model, target, change, adam, steps, progress)
    return min(descent, key=lambda step: step.loss).learned


def perturbation_map(
    perturbation: Perturbation, *, power: float = 6.0, crop: float = 0.1, dilation: int = 20
) -> Tensor:
    """Where the perturbation changed the picture most.

    The channels' mean before and after, their difference raised to a power; nothing along the
    border, where the padding of the convolutions shows; each pixel gets the largest value around.

    Args:
        perturbation: from `learn_perturbation`.
        power: the higher it is, the fewer places are left.
        crop: the border, as a share of height and width, that is set to zero on each side.
        dilation: side of the square, in pixels, whose largest value a pixel gets; 1 changes
            nothing.

    Returns:
        `[H, W]`, not negative, in units of the normalised image to that power.

    Raises:
        ValueError: power is not positive, crop not from 0 to below 0.5, or dilation below 1.
        TypeError: dilation is not a whole number.
    """
    if not 0 < power < float("inf"):
        raise ValueError(f"power must be a positive number, got {power}; 6 is usual")
    if not 0 <= crop < 0.5:
        raise ValueError(
            f"crop must be a share of the side, from 0 to below 0.5, got {crop}; 0.1 is usual"
        )
    check_count("dilation", dilation)
    before, after = (x.float().mean(dim=0) for x in (perturbation.image, perturbation.perturbed))
    changed = (before - after).abs() ** power
    H, W = changed.shape
    inner = slice(int(crop * H), H - int(crop * H)), slice(int(crop * W), W - int(crop * W))
    kept = torch.zeros_like(changed)
    kept[inner] = changed[inner]
    return _dilated(kept, dilation)


def centers(relevance: Tensor, n: int = 1, *, seed: int = 0) -> Tensor:
    """The map's centre of mass; or the centres of n parts, where a picture shows several things.

    The parts are found by k-means (scikit-learn's), to which a pixel counts as much as its
    relevance.

    Args:
        relevance: `[H, W]`; negative values count as 0.
        n: how many centres.
        seed: where k-means starts.

    Returns:
        `[n, 2]`, x and y in pixels, whole numbers in the middle of a pixel; the centre of the part
        with the most relevance comes first.

    Raises:
        ValueError: relevance is not `[H, W]` or not finite, or has fewer than n positive pixels.
        TypeError: n is not a whole number.
    """
    check_count("n", n)
    if relevance.ndim != 2 or not torch.isfinite(relevance).all():
        raise ValueError(
            f"relevance must be finite, [H, W], got {list(relevance.shape)} with "
            f"{int((~torch.isfinite(relevance)).sum())} numbers that are not; "
            "sum over the channels, or look at the method's input"
        )
    values = relevance.detach().double().cpu()
    y, x = torch.nonzero(values > 0, as_tuple=True)
    if len(x) < n:
        raise ValueError(
            f"relevance must be positive in at least n = {n} pixels, got {len(x)}; "
            "an empty map has no centre"
        )
    weights, places = values[y, x], torch.stack([x, y], dim=1).double()  # [N], [N, 2]
    part = _parts(places, weights, n, seed)
    mass = torch.zeros(n, dtype=torch.float64).index_add(0, part, weights)
    moment = torch.zeros(n, 2, dtype=torch.float64).index_add(0, part, weights[:, None] * places)
    order = mass.argsort(descending=True)
    return (moment / mass[:, None])[order].float().to(relevance.device)


def _range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's smallest value, and how far above it the largest lies; `[N, 1, 1, 1]` each."""
    least = images.amin(dim=(1, 2, 3), keepdim=True)
    return least, images.amax(dim=(1, 2, 3), keepdim=True) - least


def _descent(
    model: nn.Module,
    target: int,
    change: Callable[[], Changed],
    adam: torch.optim.Adam,
    steps: int,
    progress: bool,
) -> Iterator[_Step]:
    """Lower f + cost, a step of Adam at a time.

    Args:
        model: the network.
        target: the class whose probability is f.
        change: makes x' `[1, C, H, W]`, its cost, and what of it to keep, with their graph.
        adam: holds the weights that learn.
        steps: how many.
        progress: show a bar.
    """
    for n in trange(steps, desc="steps", disable=not progress):
        with torch.inference_mode(False), torch.enable_grad():
            images, cost, learned = change()
            if not torch.isfinite(images).all():
                raise ValueError(
                    f"lr must be small enough for the image to stay finite, got "
                    f"{adam.defaults['lr']}, which made it overflow after {n} steps"
                )
            scores = class_probabilities(model, images, gradient=True)[0].float()  # [K]
            check_target(target, len(scores))
            if n == 0:  # or the cost alone would be learned from, without a word
                gradient_of(scores[target], images, keep=True)
            loss = scores[target] + cost
            adam.zero_grad()
            loss.backward()
            adam.step()
        yield _Step(loss.item(), scores.detach(), learned.detach())


def _states(
    model: nn.Module,
    image: Tensor,
    target: int,
    descent: Iterator[_Step],
    steps: int,
    every: int,
    patience: int | None,
) -> Iterator[Perturbation]:
    """What has been learned after every few steps, until the end or until it has settled."""
    scores_before = class_probabilities(model, image[None])[0].float()
    history, same = [], _alone(image)[0]  # laid out as what is learned is
    best, mark, improved = None, float("inf"), 0
    for n, step in enumerate(descent, start=1):
        distance = (step.learned - same).abs().mean().item()
        history.append((step.loss, step.scores[target].item(), distance))
        if best is None or step.loss < best.loss:
            best = step
        if step.loss < (1 - SETTLED) * mark:
            mark, improved = step.loss, n
        settled = patience is not None and n - improved >= patience
        if settled or n % every == 0 or n == steps:
            scores = (scores_before, best.scores)
            perturbed = best.learned.contiguous()
            yield Perturbation(image, perturbed, target, *scores, *torch.tensor(history).T)
        if settled:
            return


def _alone(image: Tensor) -> Tensor:
    """The image as a batch `[1, C, H, W]` of its own, in single precision."""
    return image.detach()[None].float().clone(memory_format=torch.channels_last)


def _total_variation(maps: Tensor, power: int = 1) -> Tensor:
    """The steps from each value to the next, down and to the right, per value; a number."""
    down, across = (maps.diff(dim=axis).abs().pow(power).sum() for axis in (-2, -1))
    return (down + across) / maps.numel()


def _blurred(image: Tensor) -> Tensor:
    sigma = BLUR * min(image.shape[1:])
    blurred = gaussian_filter(image.detach().cpu().double().numpy(), (0, sigma, sigma))
    return torch.from_numpy(blurred).to(image)


def _dilated(values: Tensor, side: int) -> Tensor:
    """The largest of the values `[H, W]`, none negative, in a square around each."""
    before, after = side // 2, (side - 1) // 2
    padded = F.pad(values[None], (before, after, before, after))
    return F.max_pool2d(padded, side, stride=1)[0]


def _parts(places: Tensor, weights: Tensor, n: int, seed: int) -> Tensor:
    """Which of n parts each place `[N, 2]` belongs to, `[N]`."""
    if n == 1:
        return torch.zeros(len(places), dtype=torch.int64)
    from sklearn.cluster import KMeans

    means = KMeans(n, n_init=10, random_state=seed).fit(places, sample_weight=weights)
    return torch.from_numpy(means.labels_).long()


def _check(model: nn.Module, image: Tensor, **counts: int) -> None:
    check_model(model)
    check_image(image)
    for name, count in counts.items():
        check_count(name, count)


def _check_costs(lr: float, **costs: float) -> None:
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be a positive number, got {lr}; Adam's step has that length")
    for name, cost in costs.items():
        if not 0 <= cost < float("inf"):
            raise ValueError(
                f"{name} must be a number from 0 upwards, got {cost}; 0 leaves its term out"
            )
