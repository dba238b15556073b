"""A step of the learned perturbation, in units of one forward pass and one input gradient.

The limit is that pass itself, with the weights frozen and the channels last. The other way is the
loop of the source work (see `labkit.explain.perturbation`), which leaves the network as it was
loaded: weights learn too, channels come first. The smaller a network, the more the generator of the
perturbation itself counts; VGG-19 is the source work's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from benchmarks import timing
from benchmarks.timing import Promise, Workload, random_image, repeated
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


def steps(network: str) -> Workload:
    """Some steps."""
    model, image = load_model(network, weights="random"), random_image()
    states = perturbation_steps(model, image, 1, steps=10**6, every=1, patience=None)
    bare, ours, source = "forward and input gradient", "our step", "step of the source's loop"
    n = N_STEPS[network]
    ways = {
        bare: repeated(lambda: input_gradient(model, image, 1), n),
        ours: repeated(lambda: next(states), n),
        source: repeated(sources_step(model, image), n),
    }
    promises = [Promise(ours, bare, at_most=1.1)]
    if network == "vgg19":
        promises.append(Promise(source, ours, at_least=2))
    times = dict.fromkeys(ways, n)
    return Workload("Learned perturbation, a step", network, ways, [ours], promises, times)


measurements = partial(timing.measurements, {steps: tuple(N_STEPS)})

if __name__ == "__main__":
    timing.main(measurements)
