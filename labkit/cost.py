"""What an explanation will cost, told before it runs: passes, and seconds from a timed probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labkit.checks import check_choice, check_count
from labkit.engine.batches import choose_batch_size
from labkit.engine.contract import check_image, check_model, forward_pass
from labkit.explain import input_gradient
from labkit.methods import REGISTRY, Passes

Item = TypeVar("Item")


class Speed(NamedTuple):
    """Seconds an image, on this machine, for one network and one size of image."""

    forward: float
    gradient: float


class Cost(NamedTuple):
    """Printed as a sentence: "2000 forward passes, about 24 s"."""

    passes: Passes
    seconds: float

    def __str__(self) -> str:
        words = (("forward pass", "forward passes"), ("gradient", "gradients"))
        kinds = zip(self.passes, words, strict=True)
        counts = [f"{n} {one if n == 1 else many}" for n, (one, many) in kinds if n]
        return f"{' and '.join(counts) or 'no pass'}, {about(self.seconds)}"


def speed(model: nn.Module, image: Tensor) -> Speed:
    """Time a probe batch, the second of two: the first warms up.

    Args:
        model: any network.
        image: `[C, H, W]`, as it will be explained.
    """
    check_model(model)
    check_image(image)
    size = choose_batch_size(image)
    images = image.expand(size, -1, -1, -1)
    forward = _timed(lambda: forward_pass(model, images)) / size
    return Speed(forward, _timed(lambda: input_gradient(model, image, 0)))


def forecast(method: str, settings: Mapping[str, object], image: Tensor, per_image: Speed) -> Cost:
    """What a method will cost.

    Args:
        method: its name in `labkit.methods.REGISTRY`.
        settings: those that differ from its defaults.
        image: `[C, H, W]`.
        per_image: what `speed` measured for the network.
    """
    check_choice("method", method, REGISTRY)
    passes = REGISTRY[method].cost(settings, image)
    seconds = passes.forward * per_image.forward + passes.gradient * per_image.gradient
    return Cost(passes, seconds)


def in_time(
    items: Sequence[Item],
    *,
    costs: Sequence[float] | None = None,
    seconds: float = 120.0,
    desc: str = "",
) -> Iterator[Item]:
    """Hand out the items as long as time is left, under a bar that says what all will take.

    The first item is the probe, and is always handed out. Another one is not, if it would probably
    end after the time is over; the bar then says so.

    Args:
        items: what the loop is about.
        costs: what each takes in comparison with the others, such as its passes; alike by default.
        seconds: for the whole loop.
        desc: what the items are.

    Raises:
        ValueError: there is no item, or costs is not one positive number an item.
    """
    check_count("items", len(items))
    costs = [1.0] * len(items) if costs is None else list(costs)
    if len(costs) != len(items) or min(costs) <= 0:
        raise ValueError(
            f"costs must be a positive number for each of the {len(items)} items, got {costs}"
        )
    started = time.perf_counter()
    with tqdm(total=len(items), desc=desc) as bar:
        for done, item in enumerate(items):
            each = (time.perf_counter() - started) / sum(costs[:done] or [1])
            if done and sum(costs[: done + 1]) * each > seconds:
                bar.set_postfix_str(f"stopped, to take {about(seconds)} at the most")
                return
            if done == 1:
                bar.set_description(f"{desc}, {about(sum(costs) * each)} in all")
            yield item
            bar.update()


def about(seconds: float) -> str:
    """A forecast in words, no more exact than it is: "about 20 s", "about 3 min"."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        digits = 1 if seconds < 10 else 2
        return f"about {float(f'{seconds:.{digits}g}'):g} s"
    return f"about {seconds / 60:.0f} min"


def _timed(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
