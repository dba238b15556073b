"""The linear probe, worked out by hand, and its ROC curve against scikit-learn."""

import copy

import numpy as np
import pytest
import torch
from conftest import assert_untouched, state_of
from sklearn.metrics import confusion_matrix, roc_auc_score
from torch import nn
from torch.testing import assert_close

from labkit.classifier import Preprocessing
from labkit.data import load_leaves
from labkit.explain import gradcam, sensitivity
from labkit.models import Classifier, feature_layers, load_model
from labkit.probe import (
    attach_probe,
    discriminant,
    features,
    features_of_layers,
    leaf_classifier,
    mean_difference,
    roc_auc,
    threshold_sweep,
)

CLASSES = ("healthy", "black rot")


@pytest.fixture(scope="module")
def model():
    return load_model("minivgg", weights="random")


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_direction_points_from_class_0_to_class_1():
    # means (1, 0) and (4, 4): difference (3, 4), length 5
    phi = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 4.0]])
    labels = torch.tensor([0, 0, 1])
    assert_close(mean_difference(phi, labels), torch.tensor([0.6, 0.8]))
    assert_close(mean_difference(phi, 1 - labels), torch.tensor([-0.6, -0.8]))


def test_the_score_is_the_dot_product():
    phi = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.0, 0.0]])
    assert_close(discriminant(phi, torch.tensor([0.6, -0.8])), torch.tensor([-1.0, -1.0, 0.0]))


def test_the_sweep_counts_by_hand():
    scores, labels = torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0, 0, 1, 1])
    sweep = threshold_sweep(scores, labels)
    assert_close(sweep.threshold.tolist(), [torch.inf, 0.9, 0.4, 0.1], rtol=1e-6, atol=0)
    assert sweep.true_positive.tolist() == [0, 1, 2, 2]
    assert sweep.false_positive.tolist() == [0, 0, 1, 2]
    assert sweep.true_negative.tolist() == [2, 2, 1, 0]
    assert sweep.false_negative.tolist() == [2, 1, 0, 0]
    assert sweep.accuracy.tolist() == [0.5, 0.75, 0.75, 0.5]
    assert roc_auc(scores, labels) == 0.875  # 3 of 4 pairs in order and one tie


def test_given_thresholds_agree_with_scikit_learns_confusion_matrix():
    scores = torch.randn(60, generator=torch.Generator().manual_seed(0))
    labels = (scores + torch.randn(60, generator=torch.Generator().manual_seed(1)) > 0).int()
    sweep = threshold_sweep(scores, labels, torch.tensor([0.3, -0.5]))
    for i, threshold in enumerate((0.3, -0.5)):
        counts = confusion_matrix(labels, scores >= threshold).ravel().tolist()
        names = ("true_negative", "false_positive", "false_negative", "true_positive")
        assert [getattr(sweep, name)[i].item() for name in names] == counts


@pytest.mark.parametrize("digits", [9, 1])
def test_the_auc_equals_scikit_learns_and_mann_whitneys(digits):
    generator = torch.Generator().manual_seed(digits)
    scores = torch.randn(101, generator=generator).round(decimals=digits).double()
    labels = torch.randint(2, (101,), generator=generator)
    ours = roc_auc(scores, labels)
    assert ours == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    pairs = scores[labels == 1][:, None] - scores[labels == 0]
    assert ours == pytest.approx(
        ((pairs > 0) + 0.5 * (pairs == 0)).double().mean().item(), abs=1e-12
    )


def test_the_auc_depends_on_the_order_alone():
    scores, labels = torch.tensor([-2.0, 0.5, 1.0, 3.0, 9.0]), torch.tensor([0, 1, 0, 1, 1])
    assert roc_auc(scores.exp(), labels) == roc_auc(scores, labels)
    assert roc_auc(-scores, labels) == pytest.approx(1 - roc_auc(scores, labels))


def test_features_are_the_flattened_maps(model, images):
    phi = features(model, images, "features.9", batch_size=2)
    with torch.no_grad():
        maps = model.features[:10](images)
    assert_close(phi, maps.flatten(1))
    pooled = features(model, images, "features.9", grid=2)
    assert_close(pooled, torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1))


def test_layers_read_together_equal_layers_read_alone(model, images):
    together = features_of_layers(model, images, ["features.4", "features.30"])
    for layer, phi in together.items():
        assert torch.equal(phi, features(model, images, layer))


NETWORKS = ("minivgg", "resnet18", "squeezenet1_1", "mobilenet_v2", "efficientnet_lite0")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_probed_network_has_the_scores_as_logits(name):
    model = load_model(name, weights="random")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layer = feature_layers(model)[-1]
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    phi = features(model, images, layer)
    w = torch.randn(phi.shape[1], generator=torch.Generator().manual_seed(1))
    w /= w.norm()
    probed = attach_probe(model, w, 0.25, CLASSES)
    g = discriminant(phi, w)
    logits = probed(images).detach()
    assert_close(logits, torch.stack([torch.zeros(2), g - 0.25], dim=1), rtol=1e-5, atol=1e-5)
    assert probed.classes == CLASSES
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    relevance = gradcam(probed, images[0], 1, layer=layer)
    assert relevance.shape == (224, 224)
    assert sensitivity(copy.deepcopy(probed), images[0], 1).sum() > 0


def test_a_probe_may_sit_behind_an_inner_layer(model, images):
    w = torch.randn(32 * 56 * 56, generator=torch.Generator().manual_seed(1))
    probed = attach_probe(model, w, 0.0, CLASSES, layer="features.9")
    full = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    g = discriminant(features(model, full, "features.9"), w)
    assert_close(probed(full)[0, 1].detach(), g[0], rtol=1e-4, atol=1e-4)
    assert isinstance(probed.get_submodule("features.7"), torch.nn.Conv2d)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_probe_sits_behind_grey_networks_and_in_any_precision(n_channels, dtype):
    # twice the mean colour of a picture, in all four places
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(n_channels, 1, 1, bias=False))
    nn.init.constant_(network[1].weight, 2 / n_channels)
    grey = Preprocessing(resize=8, crop=8, mean=(0.0,) * n_channels, std=(1.0,) * n_channels)
    model = Classifier(network, name="grey", classes=["a"], description="-", preprocessing=grey)
    model.to(dtype)
    w = features(model, model.prepare(np.full((8, 8, 3), 255, np.uint8))[None], "1")[0]  # all 2
    probed = attach_probe(model, w, 10.0, CLASSES, layer="1")
    image = probed.prepare(np.full((8, 8, 3), 255, np.uint8))
    assert image.shape == (n_channels, 8, 8) and image.dtype == dtype
    assert_close(probed(image[None]).tolist(), [[0.0, 4 * 2 * 2 - 10.0]])
    # each of 64 pixels moves g by 2 * 2 / 16 over all channels; squared, and shared among them
    assert_close(sensitivity(probed, image, 1).sum().item(), 4 / n_channels, rtol=1e-2, atol=0)
    assert model.dtype == probed.dtype == dtype


def test_the_probe_keeps_the_modes_of_the_network_it_shares(small_network):
    model = Classifier(small_network, name="small", classes=list("abc"), description="-")
    w = torch.ones(8 * 112 * 112)
    for training in (True, False):
        model.train(training)
        small_network[1].train(not training)  # held fixed in fine-tuning, or the reverse
        before = state_of(model)
        probed = attach_probe(model, w, 0.0, CLASSES, layer="4")
        assert probed.training is probed.head.training is training
        probed.predict(torch.zeros(3, 224, 224))
        assert_untouched(model, before)
        probed(torch.zeros(1, 3, 224, 224))
        assert state_of(model)["modes"] == before["modes"]


def test_the_probed_network_comes_back_as_it_was_after_an_error(model):
    probed = attach_probe(model, torch.ones(64 * 7 * 7), 0.0, CLASSES)
    before = state_of(probed)
    with pytest.raises(RuntimeError):
        probed(torch.zeros(1, 3, 64, 64))  # 2 x 2 positions do not fit a w for 7 x 7
    assert_untouched(probed, before)
    assert probed.get_submodule("features.28") is model.get_submodule("features.28")


def test_a_probe_made_in_inference_mode_is_a_probe_like_any_other(model):
    with torch.inference_mode():
        w = features(model, torch.ones(1, 3, 224, 224), "features.30")[0]
        probed = attach_probe(model, w, 0.0, CLASSES)
    image = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert sensitivity(probed, image, 1).any()


def test_reading_features_leaves_the_network_as_it_was(small_network, image):
    before = state_of(small_network)
    phi = features(small_network, image[None], "4")
    assert phi.dtype == torch.float32
    assert not phi.requires_grad
    assert_untouched(small_network, before)
    assert features(small_network.double(), image[None].double(), "4").dtype == torch.float32


def test_the_first_class_has_no_gradient(model):
    w = torch.ones(features(model, torch.zeros(1, 3, 224, 224), "features.30").shape[1])
    probed = attach_probe(model, w, 0.0, CLASSES)
    assert not sensitivity(probed, torch.randn(3, 224, 224), 0).any()


def test_a_network_of_leaf_health_is_explained_as_it_is_and_any_other_gets_a_probe(model):
    train, test = load_leaves(n_train=10, n_test=10)
    assert leaf_classifier(model, train) is model
    probed = leaf_classifier(load_model("minivgg-world"), train)
    assert probed.classes == train.classes
    assert probed.layer == "features.30"
    with torch.no_grad():
        sick = probed(probed.prepare_all(train.pictures)).argmax(dim=1)
    # the threshold with the best accuracy on the training leaves: none is better
    scores = torch.tensor([probed(probed.prepare(p)[None])[0, 1].item() for p in train.pictures])
    best = threshold_sweep(scores, train.labels).accuracy.max().item()
    assert (sick == train.labels).double().mean().item() >= best - 1 / len(train) > 0.5


def test_bad_input_is_named(model, images):
    phi, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
    cases = [
        (r"features must have shape \[N, D\], got \[3\]", mean_difference, (phi[0], labels)),
        (r"labels must have shape \[4\].*got \[3\]", mean_difference, (phi, labels[:3])),
        (r"0 and 1, both present, got \[0\]", mean_difference, (phi, 0 * labels)),
        (r"0 and 1, both present, got \[1, 2\]", mean_difference, (phi, labels + 1)),
        (r"both class means are the same", mean_difference, (torch.ones(4, 3), labels)),
        (r"w must have shape \[3\].*got \[2\]", discriminant, (phi, torch.ones(2))),
        (r"scores must have shape \[N\], got \[4, 3\]", roc_auc, (phi, labels)),
        (r"got NaN", roc_auc, (torch.tensor([0, 1, torch.nan, 2]), labels)),
        (r"a batch \[N, C, H, W\], got \[3, 64, 64\]", features, (model, images[0], "features.4")),
        (r"got 'features.99'", features, (model, images, "features.99")),
        (r"two names, got \['a'\]", attach_probe, (model, torch.ones(2), 0.0, ["a"])),
        (r"w must have shape \[3136\].*got \[2\]; name the layer", attach_probe,
         (model, torch.ones(2), 0.0, CLASSES)),
    ]  # fmt: skip
    for text, function, arguments in cases:
        with pytest.raises(ValueError, match=text):
            function(*arguments)
