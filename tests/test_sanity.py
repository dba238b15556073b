"""Randomised networks: correlations worked out by hand, and the same done without labkit."""

import copy
import math

import pytest
import torch
from conftest import assert_untouched, state_of
from scipy.stats import spearmanr
from torch import nn
from torch.nn.utils import parametrizations
from torch.testing import assert_close

from labkit.explain import fem, gradcam, sensitivity
from labkit.metrics.sanity import Randomised, randomisation
from labkit.models import Classifier


class Scale(nn.Module):
    """A weight for each pixel, which is known before training as well."""

    def __init__(self, learned, before):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(learned))
        self.before = torch.tensor(before)

    def forward(self, x):
        return x * self.weight

    def reset_parameters(self):
        with torch.no_grad():
            self.weight.copy_(self.before)


class TwoScales(nn.Module):
    """The layer that is used last is registered first, and a third is never used."""

    def __init__(self, learned=(1.0, 2.0, 3.0, 4.0)):
        super().__init__()
        self.top = Scale([1.0, 1.0, 1.0, 1.0], [8.0, 1.0, 1.0, -1.0])
        self.bottom = Scale(list(learned), [2.0, 2.0, 2.0, 2.0])
        self.spare = nn.Linear(4, 2)

    def forward(self, x):
        s = self.top(self.bottom(x)).sum(dim=(1, 2, 3))
        return torch.stack([s, -s], dim=1)


IMAGE = torch.ones(1, 1, 4)


def product(model, image, target):
    """The gradient of the first logit, by hand."""
    return ((1 - 2 * target) * model.top.weight * model.bottom.weight).view(1, 4)


# map (1, 2, 3, 4); top random: (8, 2, 3, -4), ranks (4, 2, 3, 1), without signs (4, 1, 2, 3):
# r = 1 - 6 (9 + 9) / 60 = -4/5 and 1 - 6 (9 + 1 + 1 + 1) / 60 = -1/5.
# Both random: (16, 2, 2, -2), ranks (4, 2.5, 2.5, 1), deviations (1.5, 0, 0, -1.5):
# r = -4.5 / sqrt(5 * 4.5); without signs (4, 2, 2, 2): r = -3 / sqrt(5 * 3).
TOP = Randomised("top", pytest.approx(-0.8), pytest.approx(-0.2))
BOTH = Randomised("bottom", pytest.approx(-math.sqrt(0.9)), pytest.approx(-math.sqrt(0.6)))


def test_a_cascade_worked_by_hand():
    assert randomisation(product, TwoScales(), IMAGE, 0) == [TOP, BOTH]


def test_one_layer_after_the_other_worked_by_hand():
    # bottom random alone: (2, 2, 2, 2), constant
    rows = randomisation(product, TwoScales(), IMAGE, 0, mode="independent")
    assert rows == [TOP, Randomised("bottom", 0.0, 0.0)]


def test_the_layers_are_taken_in_the_order_given():
    rows = randomisation(product, TwoScales(), IMAGE, 0, layers=["bottom", "top"])
    assert rows == [("bottom", 0.0, 0.0), ("top", *BOTH[1:])]
    model = TwoScales()
    assert randomisation(product, model, IMAGE, 0, layers=[model.top])[0][1:] == TOP[1:]


def test_the_target_is_handed_on():
    asked = []
    method = lambda *arguments: asked.append(arguments[2]) or product(*arguments)  # noqa: E731
    assert randomisation(method, TwoScales(), IMAGE, 1) == [TOP, BOTH]  # all signs turned
    assert asked == [1, 1, 1]


def test_a_constant_map_of_the_trained_network_has_nothing_to_compare():
    rows = randomisation(product, TwoScales((3.0, 3.0, 3.0, 3.0)), IMAGE, 0)
    assert all(math.isnan(r) for row in rows for r in row[1:])
    # +-3: constant without its sign only; top random: (24, -3, 3, 3), ranks (4, 1, 2.5, 2.5)
    (row, _) = randomisation(product, TwoScales((3.0, -3.0, 3.0, -3.0)), IMAGE, 0)
    expected = spearmanr([3, -3, 3, -3], [24, -3, 3, 3]).statistic
    assert row.rank_correlation == pytest.approx(expected)
    assert math.isnan(row.rank_correlation_abs)


def test_a_method_that_does_not_look_at_the_network_keeps_its_map(small_network, image):
    edges = lambda model, image, target: image.sum(dim=0).diff(dim=1)  # noqa: E731
    for mode in ("cascading", "independent"):
        rows = randomisation(edges, small_network, image, 1, mode=mode)
        assert [row[1:] for row in rows] == [(pytest.approx(1), pytest.approx(1))] * 4


def test_a_method_that_looks_at_the_network_loses_it(small_network, image):
    rows = randomisation(sensitivity, small_network, image, 1)
    assert [row.layer for row in rows] == ["9", "4", "1", "0"]
    assert abs(rows[-1].rank_correlation) < 0.4


def by_hand(network, image, names, seed, *, cascading):
    """The sensitivity maps of the random networks, each built from the trained one."""
    fresh = copy.deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in fresh:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    for i, name in enumerate(names):
        drawn = names[: i + 1] if cascading else [name]
        parts = [fresh[j] if str(j) in drawn else part for j, part in enumerate(network)]
        yield sensitivity(nn.Sequential(*parts), image, 1)


@pytest.mark.parametrize("mode", ["cascading", "independent"])
def test_networks_put_together_by_hand_agree(small_network, image, mode):
    with torch.no_grad():
        small_network[1].running_mean.fill_(0.3)  # which batch normalisation has to forget
    original = sensitivity(small_network, image, 1).flatten()
    names, cascading = ["9", "4", "1", "0"], mode == "cascading"
    maps = by_hand(small_network, image, names, 5, cascading=cascading)
    rows = randomisation(sensitivity, small_network, image, 1, mode=mode, seed=5)
    for row, name, S in zip(rows, names, maps, strict=True):
        assert row.layer == name
        expected = spearmanr(original, S.flatten()).statistic
        assert row.rank_correlation == pytest.approx(expected, abs=1e-4)


def test_the_seed_fixes_the_network_and_leaves_torchs_own_alone(small_network, image):
    before = torch.random.get_rng_state()
    first, again, other = (
        randomisation(sensitivity, small_network, image, 1, seed=s) for s in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_choice_takes_from_the_same_random_network(small_network, image):
    seen = []

    def watch(model, image, target):
        seen.append([weight.detach().clone() for weight in model.parameters()])
        return sensitivity(model, image, target)

    randomisation(watch, small_network, image, 1)
    cascade = seen[-1]
    seen.clear()
    randomisation(watch, small_network, image, 1, layers=["0", "1", "4", "9"])
    assert all(map(torch.equal, seen[-1], cascade))
    learned = list(small_network.parameters())
    assert not any(map(torch.equal, cascade, learned))
    seen.clear()
    randomisation(watch, small_network, image, 1, mode="independent")
    for weights, changed in zip(
        seen[1:], (range(6, 8), range(4, 6), range(2, 4), range(2)), strict=True
    ):
        for i, weight in enumerate(weights):
            assert torch.equal(weight, cascade[i] if i in changed else learned[i])


def test_a_block_counts_as_one_layer(small_network, image):
    blocks = nn.Sequential(nn.Sequential(*small_network[:4]), nn.Sequential(*small_network[4:]))
    one, other = randomisation(sensitivity, blocks, image, 1, layers=["1", "0"])
    single = randomisation(sensitivity, blocks, image, 1)
    assert [row.layer for row in single] == ["1.5", "1.0", "0.1", "0.0"]
    assert one[1:] == single[1][1:]
    assert other[1:] == single[3][1:]


def test_a_classifiers_layers_go_by_the_networks_own_names(small_network, image):
    classifier = Classifier(small_network, name="n", classes="abc", description="d")
    method = lambda model, *asked: gradcam(model, *asked, layer="4")  # noqa: E731
    rows = randomisation(method, classifier, image, 1)
    assert [row.layer for row in rows] == ["9", "4", "1", "0"]
    assert rows == randomisation(method, small_network, image, 1)
    named = randomisation(method, classifier, image, 1, layers=["network.9", small_network[4]])
    assert [row.layer for row in named] == ["network.9", "4"]


def test_a_method_that_reads_no_logit_does_not_mind_the_head(small_network, image):
    method = lambda model, *asked: fem(model, *asked, layer="5", k=0.5)  # noqa: E731
    head, last = randomisation(method, small_network, image, 1, mode="independent")[:2]
    assert head.rank_correlation == pytest.approx(1)
    assert last.rank_correlation < 0.99


def test_the_network_comes_back_as_it_was(small_network, image):
    before, x = state_of(small_network), image.clone().requires_grad_()
    rows = randomisation(sensitivity, small_network, x, 1)
    assert x.grad is None and torch.equal(x, image)
    with torch.inference_mode():
        assert randomisation(sensitivity, small_network, image, 1) == rows

    def spoil(model, image, target):
        assert model is not small_network
        with torch.no_grad():
            model[0].weight.fill_(torch.nan)
        raise RuntimeError("spoiled")

    with pytest.raises(RuntimeError, match="spoiled"):
        randomisation(spoil, small_network, image, 1)
    assert_untouched(small_network, before)


class Stuck(nn.Module):
    """A layer of someone's own, without a way to draw its weights."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.shift


class Forgetful(nn.Conv2d):
    def reset_parameters(self):
        nn.init.zeros_(self.bias)


def test_a_layer_that_forgets_to_draw_a_weight_is_refused(image):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Forgetful(4, 2, 3), nn.AdaptiveAvgPool2d(1))
    network.append(nn.Flatten())
    network[1].weight = nn.Parameter(torch.ones(2, 4, 3, 3))
    with pytest.raises(ValueError, match="Forgetful has no reset_parameters.. that draws all"):
        randomisation(sensitivity, network, image, 1)


def test_weights_under_a_norm_are_drawn_too(small_network, image):
    plain = copy.deepcopy(small_network)
    expected = randomisation(sensitivity, plain, image, 1)
    for norm in (parametrizations.weight_norm, nn.utils.weight_norm):
        normed = copy.deepcopy(small_network)
        for layer in (normed[0], normed[4]):
            norm(layer)
        before = {key: value.clone() for key, value in normed.state_dict().items()}
        rows = randomisation(sensitivity, normed, image, 1)
        assert [row.layer for row in rows] == [row.layer for row in expected]
        r = torch.tensor([row.rank_correlation for row in rows])
        assert_close(r, torch.tensor([row.rank_correlation for row in expected]), rtol=0, atol=0.02)
        after = normed.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        normed(image[None])  # its class still knows its weights


def test_layers_whose_weights_would_stay_are_refused(small_network, image):
    network = nn.Sequential(small_network, Stuck())
    text = r"drawn anew, got '1': Stuck has no reset_parameters\(\) that draws"
    with pytest.raises(ValueError, match=text):
        randomisation(sensitivity, network, image, 1)
    assert len(randomisation(sensitivity, network, image, 1, layers=["0.9", "0"])) == 2
    with pytest.raises(ValueError, match="got '0.2': it has no parameters; choose others"):
        randomisation(sensitivity, network, image, 1, layers=["0.2"])


def test_a_map_that_is_not_finite_is_refused(small_network, image):
    trained = small_network[9].weight.detach().clone()

    def method(model, image, target):
        S = sensitivity(model, image, target)
        return S if torch.equal(model[9].weight, trained) else S / 0

    with pytest.raises(ValueError, match="a finite map, got .* with random weights in '9'; look"):
        randomisation(method, small_network, image, 1)
    with pytest.raises(ValueError, match="NaN or infinity before any layer is changed"):
        randomisation(lambda *_: image * torch.nan, small_network, image, 1)


def test_it_refuses(small_network, image):
    with pytest.raises(ValueError, match="mode must be one of cascading, independent, got 'both'"):
        randomisation(sensitivity, small_network, image, 1, mode="both")
    with pytest.raises(ValueError, match="layers must be at least one layer with parameters"):
        randomisation(sensitivity, small_network, image, 1, layers=[])
    with pytest.raises(ValueError, match="layer must be one of the model's layers, got '10'"):
        randomisation(sensitivity, small_network, image, 1, layers=["10"])
    with pytest.raises(IndexError, match="target must be a class index from 0 to 2, got 3"):
        randomisation(lambda *asked: asked[1], small_network, image, 3)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got function"):
        randomisation(sensitivity, lambda images: images, image, 1)
    with pytest.raises(ValueError, match=r"pass one image.*images\[0\]"):
        randomisation(sensitivity, small_network, image[None], 1)


def test_the_bar_is_shown_only_when_asked_for(small_network, image, capsys):
    randomisation(sensitivity, small_network, image, 1)
    assert capsys.readouterr() == ("", "")
    randomisation(sensitivity, small_network, image, 1, progress=True)
    assert "4/4" in capsys.readouterr().err
