"""Whatever network a reader brings: a right answer from every entry, or one sentence about it."""

import copy
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import FEW
from torch import nn
from torch.nn.utils import parametrizations
from torch.testing import assert_close

from labkit.evaluate import Case, evaluate
from labkit.explain import gradcam, occlusion, rise, sensitivity
from labkit.methods import GRADIENT, MAPS, NOTHING, REGISTRY, explainer
from labkit.metrics import deletion
from labkit.models import Classifier, Preprocessing
from labkit.workbench import Workbench

Y, X = np.mgrid[:40, :60]
PICTURE = np.stack([X * 4, Y * 6, X + Y], axis=-1).astype(np.uint8)
NEEDS_GRADIENT = (GRADIENT, MAPS)
SQUARES = torch.arange(16)[:, None] // 8 * 2 + torch.arange(16) // 8  # four superpixels
SETTINGS = {**FEW, "lime": {"segments": SQUARES, "n_samples": 8}}


def small(n_out=3, n_in=3):
    """Convolution, batch norm, ReLU, global average pooling, dropout, a linear layer."""
    torch.manual_seed(0)
    body = [nn.Conv2d(n_in, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2)]
    network = nn.Sequential(
        *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, n_out)
    )
    network[1].running_mean.fill_(0.3)
    network[7].weight.data *= 4
    return network.eval()


class Around(nn.Module):
    """What a network says, as something else."""

    def __init__(self, change, network=None):
        super().__init__()
        self.network, self.change = network or small(), change

    def forward(self, images):
        return self.change(self.network(images))


class Normalising(nn.Module):
    """Normalises its input."""

    def __init__(self, in_place):
        super().__init__()
        self.network, self.in_place = small(), in_place

    def forward(self, images):
        return self.network((images if self.in_place else images.clone()).sub_(0.5).div_(0.25))


class Frozen(nn.Module):
    """A backbone without gradients."""

    def __init__(self):
        super().__init__()
        self.body, self.head = small()[:6], small()[7]

    def forward(self, images):
        with torch.no_grad():
            features = self.body(images)
        return self.head(features)


class TwoInputs(nn.Module):
    """Needs more than images."""

    def __init__(self):
        super().__init__()
        self.network = small()

    def forward(self, images, metadata):
        return self.network(images) + metadata


def classifier(network, classes="abc", **preprocessing):
    return Classifier(
        network,
        name="mine",
        classes=classes,
        description="mine",
        preprocessing=Preprocessing(16, 16, **preprocessing),
    )


def entries(model):
    """Every way to ask, by name: a function of the image."""
    for name in REGISTRY:
        yield name, lambda image, name=name: ask(name, model, image)
    yield "predict", lambda image: dict(model.predict(image))
    yield "deletion", lambda image: deletion(model, image, image[0], 1, n_steps=3).score
    yield "workbench", lambda image: bench_of(model).run("sensitivity").relevance
    yield "probabilities", lambda image: bench_of(model).probabilities
    yield "evaluate", lambda image: table_of(model)


def ask(name, model, image):
    return explainer(name, model)(model, image, 1, **SETTINGS.get(name, {}))


def bench_of(model):
    bench = Workbench(model)
    bench.open(PICTURE)
    return bench


def table_of(model):
    methods = {"edges": REGISTRY["edges"].explain}
    table = evaluate(model, [Case("a", PICTURE)], methods, metrics=["deletion"])
    return table[["target", "probability", "deletion"]].to_numpy()


def same(one, other, atol):
    if isinstance(one, dict):
        return one.keys() == other.keys() and np.allclose(
            [*one.values()], [other[key] for key in one], rtol=0, atol=atol
        )
    one, other = (torch.as_tensor(each).double() for each in (one, other))
    return one.shape == other.shape and bool((one - other).abs().max() <= atol)


def faults(network, expected=None, *, tolerance=1e-5, classes="abc"):
    """What goes wrong where: maps that differ from the plain network's, or anything that moved."""
    model, plain = classifier(network, classes), classifier(expected or small(), classes)
    image = plain.prepare(PICTURE)
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    kept = image.clone()
    found = []
    for (name, answer), (_, right) in zip(entries(model), entries(plain), strict=True):
        for attempt in range(2):
            got, want = answer(image), right(image)
            scale = 1 if isinstance(want, dict) else float(torch.as_tensor(want).abs().max())
            if not same(got, want, tolerance * max(scale, tolerance)):
                found.append(f"{name}, time {attempt}: another answer")
        if not torch.equal(image, kept):
            found.append(f"{name} changed the image")
    if [m.training for m in model.modules()] != modes:
        found.append("modes moved")
    after = model.state_dict()
    found += [f"{k} moved" for k, v in before.items() if not torch.equal(v, after[k])]
    return found


def sentences(network, *, classes="abc", only=None, asked=None, **preprocessing):
    """The error of every entry, by name; what gives an answer is left out."""
    model, found = classifier(network, classes, **preprocessing), {}
    image = asked if asked is not None else model.prepare(PICTURE)
    for name, answer in entries(model):
        if only is not None and name in REGISTRY and REGISTRY[name].needs not in only:
            continue
        try:
            answer(image)
        except ValueError as error:
            found[name] = str(error)
    return found


def test_a_network_in_train_mode_answers_as_in_eval_mode_and_stays():
    assert faults(small().train()) == []


def test_outputs_that_hold_logits_are_read():
    shapes = {
        "logits in an object": lambda y: SimpleNamespace(logits=y),
        "logits in a dict": lambda y: {"logits": y, "features": None},
        "[N, K, 1, 1]": lambda y: y[..., None, None],
    }
    assert {name: faults(Around(change)) for name, change in shapes.items()} == {
        name: [] for name in shapes
    }


def test_an_input_that_is_changed_in_place_is_the_networks_own():
    assert faults(Normalising(in_place=True), Normalising(in_place=False)) == []


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double"])
def test_the_image_follows_the_networks_precision(kind):
    # a number has 11, 8 or 53 digits in base 2; a sum of 27 products loses some of them
    eps = torch.finfo({"half": torch.half, "bfloat16": torch.bfloat16}.get(kind, torch.float32)).eps
    noisy = ("lime", "perturbation", "mask", "fem", "biased")  # thresholds, steps, ratios
    noisy += ("evaluate",)  # the order of the edges
    found = faults(getattr(small(), kind)(), tolerance=60 * eps)
    assert [one for one in found if not one.startswith(noisy)] == []


def test_squares_of_small_gradients_are_taken_in_single_precision():
    network = small()
    network[7].weight.data *= 1e-4
    network[7].bias.data *= 1e-4
    image = classifier(network).prepare(PICTURE)
    squared = sensitivity(network.half(), image.half(), 1)
    assert squared.dtype == torch.float32 and squared.max() > 0


def test_one_logit_means_two_classes_by_the_sigmoid():
    two = small(2)
    one = small(1)
    with torch.no_grad():
        two[7].weight.copy_(torch.cat([-one[7].weight, one[7].weight]) / 2)
        two[7].bias.copy_(torch.cat([-one[7].bias, one[7].bias]) / 2)
    assert faults(one, two, classes="ab") == []
    model = classifier(one, "ab")
    image = model.prepare(PICTURE)
    y = one(image[None]).item()
    assert dict(model.predict(image))["b"] == pytest.approx(1 / (1 + np.exp(-y)), abs=1e-6)


def test_a_wrong_number_of_names_is_said_whatever_holds_the_logits():
    cases = {
        "too few": (small(), "ab", "3 names for a network with 3 logits, got 2"),
        "too many": (small(), "abcd", "3 names for a network with 3 logits, got 4"),
        "a dict": (Around(lambda y: {"logits": y}), "ab", "3 names .* got 2"),
        "[N, K, 1, 1]": (Around(lambda y: y[..., None, None]), "ab", "3 names .* got 2"),
        "one name for one logit": (small(1), "a", "2 names for a network with 1 logit, got 1"),
    }
    for case, (network, classes, text) in cases.items():
        found = sentences(network, classes=classes)
        assert {"predict", "workbench", "probabilities", "evaluate", "rise"} <= found.keys(), case
        assert all(re.search(text, said) for said in found.values()), (case, found)


def test_compiled_networks_are_explained_layer_by_layer():
    assert faults(torch.compile(small(), backend="eager")) == []
    compiled = small()
    compiled.compile(backend="eager")
    assert faults(compiled) == []


def test_a_scripted_network_is_explained_by_all_but_its_layers():
    network = torch.jit.script(small())
    found = sentences(network)
    assert sorted(found) == ["biased", "fem", "gradcam", "hirescam"]
    assert "convolution" in found.pop("biased")
    assert all("scripted" in text for text in found.values()), found


def test_without_a_gradient_the_methods_that_need_one_say_so():
    quantised = torch.ao.quantization.quantize_dynamic(small(), {nn.Linear}, torch.qint8)
    for network in (Frozen(), quantised):
        found = sentences(network)
        needing = {name for name, method in REGISTRY.items() if method.needs in NEEDS_GRADIENT}
        # FEM reads a layer and no gradient; which layer that is cannot be told without one
        assert needing | {"workbench"} >= found.keys() >= needing - {"fem"}
        others = {k: text for k, text in found.items() if "with a gradient, got none" not in text}
        assert others.keys() <= {"biased"}, others


def test_what_cannot_be_read_is_said_by_every_entry():
    blind = {name for name, method in REGISTRY.items() if method.needs == NOTHING}
    asking = {name for name, _ in entries(classifier(small()))} - blind
    cases = {
        "a tuple": (Around(lambda y: (y, y)), r"logits of shape [N, K], got tuple"),
        "three dimensions": (Around(lambda y: y[:, None]), "1, 3] for "),
        "a softmax at the end": (nn.Sequential(small(), nn.Softmax(1)), "rows of probabilities"),
        "two inputs": (TwoInputs(), "missing 1 required positional argument"),
        "four channels": (small(n_in=4), "to have 4 channels, but got 3"),
    }
    for case, (network, text) in cases.items():
        found = sentences(network)
        assert found.keys() >= asking, (case, asking - found.keys())
        wrong = {name: said for name, said in found.items() if name in asking and text not in said}
        assert not wrong, case


@pytest.mark.parametrize("n_in", [1, 4, 6])
def test_images_of_any_number_of_channels_are_explained(n_in):
    torch.manual_seed(1)
    image, network = torch.rand(n_in, 16, 16), small(n_in=n_in)
    maps = {name: ask(name, network, image) for name in REGISTRY if name != "edges"}
    assert all(S.shape == (16, 16) and S.isfinite().all() for S in maps.values())


def test_a_function_must_return_probabilities():
    network, image = small(), torch.rand(3, 16, 16)
    for method in (partial(rise, n_masks=8, cells=4), partial(occlusion, patch=4, stride=4)):
        with pytest.raises(ValueError, match="must return probabilities, from 0 to 1, got"):
            method(lambda images: 10 * network(images).detach(), image, 1)


def test_weight_and_spectral_norm_are_part_of_the_forward_pass():
    for norm in (
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        nn.utils.weight_norm,
    ):
        network, plain = small(), small()
        norm(network[0])
        network(torch.rand(1, 3, 16, 16))  # the spectral norm's first step
        network.eval()(torch.rand(1, 3, 16, 16))
        plain[0].weight.data.copy_(network[0].weight)
        assert faults(network, plain, tolerance=1e-4) == [], norm


def test_the_layer_of_a_compiled_or_wrapped_network_gives_the_same_map():
    image = torch.rand(3, 16, 16)
    expected = gradcam(small(), image, 1, layer="2")
    wrapped = nn.DataParallel(small())
    assert_close(explainer("gradcam", wrapped)(wrapped, image, 1), expected)
