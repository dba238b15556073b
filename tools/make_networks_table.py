"""Try every method on every family of networks, and write what came out to docs/networks.md.

    python -m tools.make_networks_table

The weights are drawn at random: what is tried is whether a method can read the network, and whether
it reads the right layer. Maps at a layer are compared with maps computed here by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.explain import segment
from labkit.methods import MAPS, NOTHING, REGISTRY
from labkit.models import last_maps

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
FEW = {
    "smoothgrad": {"n_samples": 2},
    "integrated_gradients": {"n_steps": 2},
    "rise": {"n_masks": 2, "cells": 4},
    "lime": {"n_samples": 2},
    "perturbation": {"steps": 1},
    "mask": {"steps": 1},
}
TOLERANCE = 0.01  # of the largest value: random weights make numbers that nearly cancel


class Family(NamedTuple):
    """One network of a family.

    library: "torchvision" or "timm".
    name: in that library.
    layer: the last maps that everything passes through, read off the network's forward by eye; ""
        where there are none.
    layout: "first" `[N, K, h, w]`, "last" `[N, h, w, K]`, or how many tokens come before the
        picture's in `[N, T, K]`.
    size: side of the image in pixels.
    """

    library: str
    name: str
    layer: str
    layout: str | int = "first"
    size: int = 224


def _of(library: str, *rows: tuple) -> list[Family]:
    return [Family(library, *row) for row in rows]


FAMILIES = _of(
    "torchvision",
    ("alexnet", "features.11"),
    ("convnext_tiny", "features.7", "first", 128),
    ("densenet121", "features", "first", 128),
    ("efficientnet_b0", "features.8", "first", 128),
    ("efficientnet_v2_s", "features.7", "first", 128),
    ("googlenet", "inception5b", "first", 128),
    ("inception_v3", "Mixed_7c", "first", 160),
    ("maxvit_t", "blocks.3"),
    ("mnasnet0_5", "layers", "first", 128),
    ("mobilenet_v2", "features.18", "first", 128),
    ("mobilenet_v3_small", "features.12", "first", 128),
    ("regnet_x_400mf", "trunk_output", "first", 128),
    ("regnet_y_400mf", "trunk_output", "first", 128),
    ("resnet18", "layer4", "first", 128),
    ("resnext50_32x4d", "layer4", "first", 128),
    ("shufflenet_v2_x0_5", "conv5", "first", 128),
    ("squeezenet1_1", "features.12", "first", 128),
    ("swin_t", "norm", "last", 128),
    ("swin_v2_t", "norm", "last", 128),
    ("vgg11", "features.19", "first", 128),
    ("vgg11_bn", "features.27", "first", 128),
    ("vit_b_32", "encoder.layers.encoder_layer_10", 1),
    ("wide_resnet50_2", "layer4", "first", 128),
) + _of(
    "timm",
    ("tf_efficientnet_lite0", "bn2", "first", 128),
    ("mobilenetv3_small_050", "blocks", "first", 128),
    ("ghostnet_100", "blocks", "first", 128),
    ("resnet10t", "layer4", "first", 128),
    ("regnetx_002", "s4", "first", 128),
    ("convnext_atto", "stages", "first", 128),
    ("vit_tiny_patch16_224", "blocks.10", 1),
    ("deit_tiny_distilled_patch16_224", "blocks.10", 2),
    ("swin_tiny_patch4_window7_224", "norm", "last"),
    ("pvt_v2_b0", "stages", "first", 128),
    ("mobilevit_xxs", "final_conv", "first", 128),
    ("coat_lite_tiny", "serial_blocks4.0", 1),
    ("mixer_s32_224", "norm", 0),
    ("resmlp_12_224", "norm", 0),
    ("poolformer_s12", "stages", "first", 128),
    ("edgenext_xx_small", "stages", "first", 128),
    ("efficientformer_l1", "norm", 0),
    ("xcit_nano_12_p8_224", "cls_attn_blocks.0", 1, 112),
    ("repvgg_a0", "stages", "first", 128),
    ("hrnet_w18_small", "final_layer", "first", 128),
    ("visformer_tiny", "norm"),
    ("starnet_s1", "norm", "first", 128),
    ("mambaout_femto", "stages", "last", 128),
    ("tnt_s_patch16_224", ""),
)


def network_of(family: Family) -> nn.Module:
    """The network with random weights, in eval mode; a head of zeros is drawn too."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if family.library == "timm":
            network = timm.create_model(family.name, pretrained=False)
        else:
            drawn = {"init_weights": True} if family.name in ("googlenet", "inception_v3") else {}
            network = torchvision.models.get_model(family.name, weights=None, **drawn)
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.02)
    return network.eval()


def image_of(family: Family) -> Tensor:
    """Noise `[3, H, W]`."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, family.size, family.size, generator=generator)


def by_hand(network: nn.Module, image: Tensor, target: int, family: Family) -> dict[str, Tensor]:
    """Grad-CAM and FEM at the family's layer, from a forward and a backward pass of torch alone."""
    kept = []

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        kept.append(output)
        output.retain_grad()
        return output.clone()

    with network.get_submodule(family.layer).register_forward_hook(keep):
        network(image[None].requires_grad_())[0, target].backward()
    network.zero_grad()
    A, gradient = (_arranged(each[0], family.layout) for each in (kept[0].detach(), kept[0].grad))
    cam = (gradient.mean(dim=(1, 2))[:, None, None] * A).sum(dim=0).relu()
    mean, deviation = A.mean(dim=(1, 2)), A.std(dim=(1, 2), correction=0)
    high = (mean + 2 * deviation)[:, None, None] < A
    fem = (mean[:, None, None] * high).sum(dim=0)
    size = image.shape[1:]
    return {
        name: F.interpolate(S[None, None], size, mode="bilinear")[0, 0]
        for name, S in {"gradcam": cam, "fem": fem}.items()
    }


def _arranged(values: Tensor, layout: str | int) -> Tensor:
    """Maps `[K, h, w]` of one image."""
    if isinstance(layout, int):
        side = round((len(values) - layout) ** 0.5)
        return values[layout:].T.reshape(-1, side, side)
    return values.permute(2, 0, 1) if layout == "last" else values


def fault_of_layer(family: Family) -> str:
    """What is wrong with the layer that labkit names, or with the maps there; mostly ""."""
    network, image = network_of(family), image_of(family)
    try:
        layer = last_maps(network, image)
    except ValueError as error:
        return str(error) if family.layer else ""
    if layer != family.layer:
        return f"layer {layer!r}, not {family.layer!r}"
    for name, right in by_hand(network, image, 1, family).items():
        S = REGISTRY[name].explain(network, image, 1, layer=layer)
        if not (S - right).abs().max() <= TOLERANCE * right.abs().max():
            return f"{name} at {layer!r} differs from the one computed by hand"
    return ""


def said_of(family: Family) -> dict[str, str]:
    """For each method "yes", if it gave a finite map, or its sentence."""
    network, image = network_of(family), image_of(family)
    quarters = {"patch": family.size // 2, "stride": family.size // 2}
    squares = {**FEW["lime"], "segments": segment(image, "grid", n_segments=4)}
    settings = {**FEW, "occlusion": quarters, "lime": squares}
    said = {}
    for name, method in REGISTRY.items():
        if method.needs == NOTHING:
            continue
        try:
            bound = {"layer": last_maps(network, image)} if method.needs == MAPS else {}
            S = REGISTRY[name].explain(network, image, 1, **bound, **settings.get(name, {}))
            said[name] = "yes" if S.isfinite().all() else "a map that is not finite"
        except ValueError as error:
            said[name] = str(error)
    return said


def page(families: Iterable[Family], progress: Callable[[str], None] = print) -> str:
    """The text of docs/networks.md."""
    methods = [name for name, method in REGISTRY.items() if method.needs != NOTHING]
    notes: list[str] = []
    rows = []
    for family in families:
        progress(family.name)
        said = said_of(family)
        cells = []
        for name in methods:
            if said[name] != "yes" and said[name] not in notes:
                notes.append(said[name])
            cells.append("yes" if said[name] == "yes" else f"({notes.index(said[name]) + 1})")
        fault = fault_of_layer(family)
        layer = f"`{family.layer}`" if family.layer else "none"
        rows.append([f"{family.library}: {family.name}", fault or layer, *cells])
    header = ["network", "layer", *methods]
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    said_below = [f"{i}. {text}" for i, text in enumerate(notes, start=1)]
    return "\n".join([*HEAD, *lines, "", "## What the numbers say", "", *said_below, ""])


HEAD = [
    "# Which method reads which network",
    "",
    "Made by `python -m tools.make_networks_table`, with random weights: every family of",
    "torchvision, and some of timm. The layer is what `labkit.models.last_maps` finds, the",
    "one that Grad-CAM, HiResCAM and FEM read by default; Grad-CAM and FEM there are equal to",
    "maps computed by hand from that layer's output. `yes` means a finite map, and a number",
    "in brackets the sentence below that the reader gets.",
    "",
]

if __name__ == "__main__":
    PAGE.write_text(page(FAMILIES), encoding="utf-8")
