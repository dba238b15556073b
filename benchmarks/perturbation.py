"""A step of the learned perturbation, in units of one forward pass and one input gradient.

The limit is that pass itself, with the weights frozen and the channels last. The other peer is the
loop of the source work (see `labkit.explain.perturbation`), which leaves the network as it was
loaded: weights learn too, channels come first. Run it as `python -m benchmarks.perturbation`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.timing import machine, measure, table
from labkit.explain import PerturbationGenerator, input_gradient, perturbation_steps
from labkit.models import load_model

N_STEPS = {"minivgg": 20, "resnet18": 10, "vgg19": 1}


def sources_step(model: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    """One step of the loop as the source work writes it."""
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format).requires_grad_()
    G, x = PerturbationGenerator(start="random"), image[None].clone()
    adam = torch.optim.Adam(G.parameters(), lr=0.01)

    def step() -> None:
        perturbed = G(x)
        score = nn.Softmax(dim=1)(model(perturbed))[0, 1]
        loss = score + (x - perturbed).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return step


def compare(model: nn.Module, n_steps: int) -> None:
    """Print a table."""
    image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))
    states = perturbation_steps(model, image, 1, steps=10**6, every=1, patience=None)
    source = sources_step(model, image)
    ways = {
        "forward and input gradient": lambda: input_gradient(model, image, 1),
        "step of the perturbation": lambda: next(states),
        "step of the source's loop": source,
    }
    several = {f"{n_steps} x {name}": repeated(way, n_steps) for name, way in ways.items()}
    print(table(measure(several, 5), next(iter(several))))


def repeated(way: Callable[[], object], n: int) -> Callable[[], None]:
    """The same, n times."""

    def ways() -> None:
        for _ in range(n):
            way()

    return ways


def main() -> None:
    """Print a table for each network."""
    print(machine())
    for name, n_steps in N_STEPS.items():
        print(f"\n{name}")
        compare(load_model(name, weights="random"), n_steps)


if __name__ == "__main__":
    main()
