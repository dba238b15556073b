"""Biased layers, worked out by hand and against captum and zennit."""

import copy

import pytest
import torch
from conftest import assert_untouched, needs_module, state_of
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.engine.hooks import find_layer
from labkit.explain import gradcam, gradient_times_input, input_gradient
from labkit.explain.biased import RULES, BiasedLayer, biased
from labkit.models import last_maps, load_model
from labkit.probe import attach_probe


def linear(weight, bias=None):
    weight = torch.tensor(weight)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def gradients(layer, a):
    """dz_k / da of every output k."""
    return torch.autograd.functional.jacobian(layer, torch.tensor(a))


def random_image(*shape, dtype=torch.float64, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# W = [[2, -1], [-4, 1]], b = (1, -1), a = (1, 2): z = (2 - 2 + 1, -4 + 2 - 1) = (1, -3).
# With gamma = 1/2, W' = [[3, -1], [-4, 1.5]], b' = (1.5, -1), q = (3 - 2 + 1.5, -4 + 3 - 1).
WEIGHT, BIAS, A = [[2.0, -1.0], [-4.0, 1.0]], [1.0, -1.0], [1.0, 2.0]
# z / q = (1 / 2.5, -3 / -2) = (0.4, 1.5)
RATIO = torch.tensor([[1.2, -0.4], [-6.0, 2.25]])
STRAIGHT_THROUGH = torch.tensor([[3.0, -1.0], [-4.0, 1.5]])


@pytest.mark.parametrize(
    ("rule", "expected"), [("ratio", RATIO), ("straight-through", STRAIGHT_THROUGH)]
)
def test_a_layer_has_the_gradient_worked_by_hand(rule, expected):
    layer = BiasedLayer(linear(WEIGHT, BIAS), 0.5, rule)
    assert_close(layer(torch.tensor(A)), torch.tensor([1.0, -3.0]))
    assert_close(gradients(layer, A), expected)


def test_a_plain_bias_is_not_favoured():
    # b' = b: q = (3 - 2 + 1, -2), z / q = (0.5, 1.5)
    layer = BiasedLayer(linear(WEIGHT, BIAS), 0.5, bias="plain")
    assert_close(gradients(layer, A), torch.tensor([[1.5, -0.5], [-6.0, 2.25]]))


def one_pixel_after_another(in_place=False):
    """Channels (x, -x) of an image [1, 1, 2], a ReLU, and the layer above on (x_0, -x_1)."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False),
        nn.ReLU(in_place),
        nn.Flatten(),
        linear([[2.0, 9.0, 9.0, -1.0], [-4.0, 9.0, 9.0, 1.0]], BIAS),
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    return network


@pytest.mark.parametrize("in_place", [False, True])
def test_a_network_has_the_gradient_worked_by_hand(in_place):
    # The maps (1, 0) and (0, 2) bring the layer a = (1, 0, 0, 2); the second pixel counts with -1.
    network, x = one_pixel_after_another(in_place), torch.tensor([[[1.0, -2.0]]])
    ratio = biased(network, gamma=0.5)
    assert_close(input_gradient(ratio, x, 0), torch.tensor([[[1.2, 0.4]]]))
    assert_close(input_gradient(ratio, x, 1), torch.tensor([[[-6.0, -2.25]]]))
    through = biased(network, gamma=0.5, rule="straight-through")
    assert_close(input_gradient(through, x, 0), torch.tensor([[[3.0, 1.0]]]))
    assert_close(input_gradient(through, x, 1), torch.tensor([[[-4.0, -1.5]]]))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("gamma", [0, 0.25, 1.0, 100.0, 1e6])
def test_the_logits_are_the_models_own(small_network, image, rule, gamma):
    network, images = small_network.eval(), image[None].clone().requires_grad_()
    for first_layer in ("plain", "biased"):
        copied = biased(network, gamma, rule, first_layer)
        assert_close(copied(images), network(images), rtol=0, atol=1e-6)
        with torch.no_grad():
            assert_close(copied(images), network(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_without_gamma_the_gradient_is_the_plain_one(small_network, image, rule):
    copied = biased(small_network, 0.0, rule, first_layer="biased")
    plain = input_gradient(small_network, image, 1)
    assert_close(input_gradient(copied, image, 1), plain, rtol=1e-6, atol=1e-9)


def without_in_place(network):
    return nn.Sequential(*(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in network))


@pytest.mark.parametrize("rule", RULES)
def test_relus_in_place_change_nothing(small_network, image, rule):
    in_place, other = (
        biased(network.eval(), rule=rule, first_layer="biased")
        for network in (small_network, without_in_place(small_network))
    )
    assert torch.equal(in_place(image[None]), other(image[None]))
    for target in range(3):
        both = [input_gradient(network, image, target) for network in (in_place, other)]
        assert torch.equal(*both)


def test_frozen_parameters_change_nothing(small_network, image):
    frozen = copy.deepcopy(small_network).requires_grad_(False)
    both = [input_gradient(biased(network), image, 1) for network in (small_network, frozen)]
    assert torch.equal(*both)
    assert not any(parameter.requires_grad for parameter in biased(small_network).parameters())


@pytest.mark.parametrize("rule", RULES)
def test_nothing_over_nothing_is_finite(small_network, rule):
    # no bias and a black image: z = q = 0 everywhere, and z / q = 1
    black = torch.zeros(3, 12, 16)
    network = nn.Sequential(nn.Flatten(), linear([[2.0] * 576, [-1.0] * 576]))
    copied = biased(network, 0.5, rule, first_layer="biased")
    assert_close(input_gradient(copied, black, 0), torch.full((3, 12, 16), 3.0))
    for layer in (small_network[0], small_network[4], small_network[9]):
        layer.bias.data.zero_()
    deep = biased(small_network, 0.25, rule, first_layer="biased")
    assert input_gradient(deep, black, 0).isfinite().all()


@pytest.mark.parametrize(("b", "stabilised_q"), [(0.0, 1e-9), (-1e-9, -2e-9)])
def test_where_q_alone_vanishes_the_gradient_stays_finite(b, stabilised_q):
    # z = 1 - 1.25 + b, q = 1.25 - 1.25 + b, moved away from zero by 1e-9
    layer = BiasedLayer(linear([[1.0, -1.25]], [b]).double(), 0.25)
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(a), a)
    expected = -0.25 / stabilised_q * torch.tensor([1.25, -1.25], dtype=torch.float64)
    assert_close(gradient, expected, rtol=1e-5, atol=0)


def small_cnn(seed=0, pooled=True):
    """Two convolutions, pooling and a linear layer, in double precision; ReLUs not in place."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2) if pooled else nn.Identity(),
        nn.Conv2d(6, 8, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.4 * drawn)
    return network.eval()


@pytest.mark.parametrize("gamma", [0.0, 0.25, 10.0])
@pytest.mark.parametrize("first_layer", ["plain", "biased"])
def test_without_biases_the_relevance_adds_up_to_the_logit(gamma, first_layer):
    network, x = small_cnn(), random_image(3, 12, 16)
    for layer in network:
        if hasattr(layer, "bias"):
            layer.bias.data.zero_()
    for target, logit in enumerate(network(x[None])[0].tolist()):
        copied = biased(network, gamma, first_layer=first_layer)
        total = (input_gradient(copied, x, target) * x).sum().item()
        assert total == pytest.approx(logit, rel=1e-5)


def test_straight_through_is_the_chain_of_favoured_weights_and_original_gates():
    conv1, conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
    head = nn.Linear(3 * 30, 2)
    network = nn.Sequential(conv1, nn.ReLU(), conv2, nn.ReLU(), nn.Flatten(), head).double()
    x = random_image(2, 5, 6)
    with torch.no_grad():
        z1 = conv1(x[None])
        z2 = conv2(z1.relu())
        chain = favoured(head.weight)[1].view(1, 3, 5, 6) * (z2 > 0)
        chain = F.conv_transpose2d(chain, favoured(conv2.weight), padding=1) * (z1 > 0)
        plain_first = F.conv_transpose2d(chain, conv1.weight, padding=1)[0]
        biased_first = F.conv_transpose2d(chain, favoured(conv1.weight), padding=1)[0]
    for first_layer, expected in (("plain", plain_first), ("biased", biased_first)):
        copied = biased(network, 0.25, "straight-through", first_layer)
        assert_close(input_gradient(copied, x, 1), expected, rtol=1e-6, atol=1e-9)


def favoured(weight):
    return weight + 0.25 * torch.relu(weight)


def relative_error(ours, peer):
    return ((ours - peer).abs().max() / peer.abs().max()).item()


def relevance(network, x, target):
    return input_gradient(network, x, target) * x


class CaptumSees(nn.Module):
    """The layers by name, each used once and flattened by a method: captum knows no Flatten."""

    def __init__(self, network):
        super().__init__()
        self.maps, self.head = copy.deepcopy(network[:6]), copy.deepcopy(network[7:])

    def forward(self, x):
        return self.head(self.maps(x).flatten(1))


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_captums_gamma_rule_agrees(target, seed):
    attr = needs_module("captum.attr", "conformance")
    rules = needs_module("captum.attr._utils.lrp_rules", "conformance")
    network, x = small_cnn(seed), random_image(3, 12, 16)
    peer = CaptumSees(network)
    for layer in peer.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.rule = rules.GammaRule(0.25)
        elif isinstance(layer, nn.Identity):
            layer.rule = rules.EpsilonRule()
    expected = attr.LRP(peer).attribute(x[None].clone().requires_grad_(), target=target)[0].detach()
    ours = relevance(biased(network, 0.25, first_layer="biased", bias="plain"), x, target)
    assert relative_error(ours, expected) < 1e-5


def zennits_relevance(network, x, target, *, conv, dense, first=None):
    composites = needs_module("zennit.composites", "conformance")
    attribution = needs_module("zennit.attribution", "conformance")
    rules = needs_module("zennit.rules", "conformance")
    types = needs_module("zennit.types", "conformance")
    layer_map = [
        (types.Activation, rules.Pass()),
        (types.AvgPool, rules.Norm()),
        (types.Convolution, conv),
        (types.Linear, dense),
    ]
    first_map = [(types.Convolution, first)] if first else []
    composite = composites.SpecialFirstLayerMapComposite(layer_map, first_map)
    with attribution.Gradient(copy.deepcopy(network), composite) as attributor:
        logits = network(x[None])
        start = F.one_hot(torch.tensor([target]), logits.shape[1]) * logits.detach()
        return attributor(x[None].clone(), start)[1][0].detach()


def likely_class(network, x):
    """The class with the largest logit; zennit's rule is LRP-gamma only where it is positive."""
    logits = network(x[None])[0]
    assert logits.max() > 0
    return int(logits.argmax())


@pytest.mark.parametrize("seed", [3, 7])
def test_zennits_gamma_agrees_where_nothing_is_negative(seed):
    rules = needs_module("zennit.rules", "conformance")
    network, x = small_cnn(seed), random_image(3, 12, 16).abs()
    target, gamma = likely_class(network, x), rules.Gamma(0.25, stabilizer=1e-9)
    expected = zennits_relevance(network, x, target, conv=gamma, dense=gamma)
    ours = relevance(biased(network, 0.25, first_layer="biased"), x, target)
    assert relative_error(ours, expected) < 1e-5


@pytest.mark.parametrize("seed", [3, 7])
def test_zennits_gamma_agrees_behind_a_plain_first_layer(seed):
    rules = needs_module("zennit.rules", "conformance")
    network, x = small_cnn(seed), random_image(3, 12, 16)
    target, gamma = likely_class(network, x), rules.Gamma(0.25, stabilizer=1e-9)
    first = rules.Epsilon(1e-9)
    expected = zennits_relevance(network, x, target, conv=gamma, dense=gamma, first=first)
    ours = relevance(biased(network, 0.25), x, target)
    assert relative_error(ours, expected) < 1e-5


def test_a_huge_gamma_is_zennits_z_plus():
    rules = needs_module("zennit.rules", "conformance")
    network, x = small_cnn(), random_image(3, 12, 16).abs()
    z_plus = rules.ZPlus(stabilizer=1e-9)
    expected = zennits_relevance(network, x, 1, conv=z_plus, dense=z_plus)
    errors = []
    for gamma in (1e2, 1e4, 1e6):
        ours = relevance(biased(network, gamma, first_layer="biased"), x, 1)
        errors.append(relative_error(ours, expected))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-4


def test_a_biased_first_layer_explodes_on_a_signed_image():
    # W = (1, -1), a = (-13/16, -1): z = 3/16, q = -1.25 * 13/16 + 1 = -1/64, z / q = -12
    layer = BiasedLayer(linear([[1.0, -1.0]]))
    assert_close(gradients(layer, [-13 / 16, -1.0]), torch.tensor([[-15.0, 12.0]]))
    network, x = load_model("minivgg"), smooth_image(224)
    largest = [
        input_gradient(biased(network, first_layer=first_layer), x, 1).abs().max()
        for first_layer in ("plain", "biased")
    ]
    assert largest[1] > 5 * largest[0]


def smooth_image(size=64):
    noise = random_image(1, 3, size, size, dtype=torch.float32)
    return 3 * F.avg_pool2d(noise, 5, stride=1, padding=2)[0]


NETWORKS = ("minivgg", "squeezenet1_1", "resnet18", "mobilenet_v2")


@pytest.mark.parametrize("name", NETWORKS)
def test_real_architectures_keep_their_names_and_their_logits(name):
    model, x = load_model(name, weights="random"), smooth_image()
    with torch.no_grad():
        logits = model(x[None])
    normed = name in ("resnet18", "mobilenet_v2")
    if normed:
        with pytest.raises(ValueError, match=f"'straight-through' for {name}, .*BatchNorm2d"):
            biased(model)
    for rule in ["straight-through"] if normed else RULES:
        copied = biased(model, rule=rule)
        assert_close(copied(x[None].clone().requires_grad_()).detach(), logits, rtol=0, atol=1e-6)
        assert input_gradient(copied, x, 1).isfinite().all()
        assert copied.classes == model.classes and copied.predict(x) == model.predict(x)
    kinds = (nn.Conv2d, nn.Linear)
    first, *others = [n for n, layer in model.named_modules() if isinstance(layer, kinds)]
    assert isinstance(find_layer(copied, first), kinds)
    assert all(isinstance(find_layer(copied, name), BiasedLayer) for name in others)
    assert last_maps(copied) == last_maps(model)
    relevance = gradcam(copied, x, 1, layer=last_maps(copied))
    assert relevance.shape == (64, 64) and relevance.isfinite().all()


def test_a_copied_classifier_prepares_pictures():
    model = load_model("minivgg")
    picture = (torch.rand(80, 90, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
    image = model.prepare(picture.numpy())
    assert torch.equal(biased(model).prepare(picture.numpy()), image)


def test_a_probed_network_can_be_biased():
    model = load_model("minivgg-world")
    w = torch.randn(64 * 7 * 7, generator=torch.Generator().manual_seed(0))
    probed = attach_probe(model, w, 0.25, ("healthy", "ill"))
    x = smooth_image(224)
    for rule in RULES:
        copied = biased(probed, rule=rule)
        logits = copied(x[None].clone().requires_grad_())
        assert_close(logits, probed(x[None]), rtol=0, atol=1e-6)
        assert isinstance(copied.head, BiasedLayer)
        gradient = input_gradient(copied, x, 1)
        assert gradient.isfinite().all()
        assert not torch.allclose(gradient, input_gradient(probed, x, 1))
    assert copied.classes == ("healthy", "ill")
    assert gradcam(copied, x, 1, layer="features.29").shape == (224, 224)


class Twice(nn.Module):
    """One linear layer used twice under two names: logits L(relu(L(x)))."""

    def __init__(self):
        super().__init__()
        self.first = nn.Flatten()
        self.layer = linear(WEIGHT, BIAS)
        self.alias = self.layer
        self.unregistered = [self.layer]

    def forward(self, x):
        return self.unregistered[0](self.alias(self.layer(self.first(x))).relu())


def test_a_layer_in_several_places_is_replaced_by_one():
    copied = biased(Twice(), 0.5, first_layer="biased")
    assert isinstance(copied.layer, BiasedLayer)
    assert copied.layer is copied.alias is copied.unregistered[0]
    with pytest.raises(ValueError, match="a second layer to bias, got one Linear alone"):
        biased(Twice())


def test_the_first_layer_registered_stays_plain(small_network):
    copied = biased(small_network)
    assert isinstance(copied[0], nn.Conv2d)
    assert all(isinstance(copied[i], BiasedLayer) for i in (4, 9))
    assert isinstance(biased(small_network, first_layer="biased")[0], BiasedLayer)


def test_a_single_layer_can_be_biased_itself():
    assert_close(gradients(biased(linear(WEIGHT, BIAS), 0.5, first_layer="biased"), A), RATIO)


def test_a_biased_layer_tells_its_layers_settings(small_network):
    layer = biased(small_network)[4]
    assert layer.stride == (1, 1) and layer.padding == (1, 1)
    assert torch.equal(layer.weight, small_network[4].weight)
    assert repr(layer).startswith("BiasedLayer(\n  gamma=0.25, rule='ratio'")
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = layer.no_such_thing
    with pytest.raises(AttributeError):
        _ = BiasedLayer.__new__(BiasedLayer).weight  # half built, as in a debugger


def test_attention_that_reads_weights_without_running_the_layer_still_works():
    from torchvision.models import VisionTransformer

    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "num_classes": 3}
    network, x = VisionTransformer(16, 8, **sizes).eval(), random_image(3, 16, 16).float()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    copied, images = biased(network, rule="straight-through"), x[None].requires_grad_()
    assert_close(copied(images), network(images), rtol=0, atol=1e-6)
    assert input_gradient(copied, x, 1).isfinite().all()


def test_without_gradients_only_the_layer_itself_runs(small_network, image):
    copied, runs = biased(small_network, first_layer="biased"), []
    copied[0].excited.register_forward_hook(lambda *_: runs.append("excited"))
    with torch.no_grad():
        copied(image[None].clone().requires_grad_())
    copied(image[None])
    assert not runs
    copied(image[None].clone().requires_grad_())
    assert runs == ["excited"]


def test_gradcam_explains_the_layer_inside_a_biased_layer_too(two_channels):
    x = torch.tensor([[[1.0, -2.0, 0.5], [4.0, 0.0, -1.0]]])
    two_channels.rectify = True
    copied = biased(two_channels, first_layer="biased")
    assert last_maps(copied, x) == last_maps(two_channels, x) == "relu"
    inner, outer = (gradcam(copied, x, 0, layer=layer) for layer in ("conv.layer", "conv"))
    assert torch.equal(inner, outer) and outer.sum() > 0


def test_the_copy_follows_to_another_precision(small_network, image):
    copied, network = biased(small_network).double(), small_network.double()
    gradient = input_gradient(copied, image.double(), 1)
    assert gradient.dtype == torch.float64
    assert_close(gradient, input_gradient(biased(network), image.double(), 1))
    half = biased(small_network.bfloat16())
    assert half(image[None].bfloat16().requires_grad_()).dtype == torch.bfloat16
    assert all(parameter.is_meta for parameter in copied.to("meta").parameters())


def test_the_model_is_neither_changed_nor_shared(small_network, image):
    small_network[0].bias.requires_grad_(False)
    small_network[4].eval()
    before = state_of(small_network)
    for rule in RULES:
        copied = biased(small_network, rule=rule)
        assert [copied[i].training for i in range(10)] == [m.training for m in small_network]
        own = {t.data_ptr() for t in (*small_network.parameters(), *small_network.buffers())}
        others = {t.data_ptr() for t in (*copied.parameters(), *copied.buffers())}
        assert not own & others
        input_gradient(copied, image, 1)
    assert_untouched(small_network, before)


def test_the_copy_is_an_honest_model(small_network, image):
    copied = biased(small_network)
    before = state_of(copied)
    with torch.inference_mode():
        inside = input_gradient(biased(small_network), image, 1)
    assert torch.equal(gradient_times_input(copied, image, 1), (inside * image).sum(0))
    with pytest.raises(IndexError, match="target must be a class index"):
        input_gradient(copied, image, 3)
    again = copy.deepcopy(copied)
    assert torch.equal(input_gradient(again, image, 1), inside)
    assert_untouched(copied, before)


BAD = [
    ({"gamma": -0.1}, "gamma must be a finite number, 0 or more, got -0.1; 0 gives the plain"),
    ({"gamma": float("nan")}, "gamma must be a finite number, 0 or more, got nan"),
    ({"gamma": float("inf")}, "gamma must be a finite number, 0 or more, got inf"),
    ({"rule": "gamma"}, "rule must be one of ratio, straight-through, got 'gamma'"),
    ({"first_layer": "skip"}, "first_layer must be one of plain, biased, got 'skip'"),
    ({"bias": "zero"}, "bias must be one of biased, plain, got 'zero'"),
]


@pytest.mark.parametrize(("settings", "text"), BAD)
def test_a_setting_that_does_not_exist_is_refused(small_network, settings, text):
    before = state_of(small_network)
    with pytest.raises(ValueError, match=text):
        biased(small_network, **settings)
    assert_untouched(small_network, before)


def test_what_cannot_be_biased_is_refused(small_network):
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        biased(lambda x: x)
    with pytest.raises(ValueError, match="a convolution or a linear layer, got Sequential without"):
        biased(nn.Sequential(nn.Flatten(), nn.ReLU()))
    with pytest.raises(ValueError, match="got one Linear alone.* pass first_layer='biased'"):
        biased(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="model must not be biased already; pass the network"):
        biased(biased(small_network))
    with pytest.raises(TypeError, match="layer must be one of Conv1d, .*Linear, got ReLU; biased"):
        BiasedLayer(nn.ReLU())
