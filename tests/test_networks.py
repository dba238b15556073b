"""The shipped networks do what their cards say."""

import json

import pytest
import torch

from labkit.assets import asset
from labkit.data import load_leaves
from labkit.explain import gradcam, sensitivity
from labkit.metrics import pointing_game
from labkit.models import EMBEDDED, feature_layers, last_conv, load_model
from labkit.probe import discriminant, features, mean_difference, roc_auc


@pytest.fixture(scope="module")
def leaves():
    return load_leaves()


@pytest.fixture(scope="module")
def minivgg():
    return load_model("minivgg")


@pytest.mark.parametrize("name", EMBEDDED)
def test_each_network_has_a_card(name):
    card = json.loads(asset(f"networks/{name}.json").read_text(encoding="utf-8"))
    for entry in ("classes", "description", "training_data", "known_weaknesses", "log", "seed"):
        assert entry in card
    assert 0.85 < card["held_out_accuracy"] <= 1


def test_the_networks_are_small():
    assert sum(asset(f"networks/{name}.pt").stat().st_size for name in EMBEDDED) < 5e6


def test_minivgg_tells_black_rot_on_shipped_leaves(minivgg, leaves):
    test = leaves[1]
    with torch.no_grad():
        answers = torch.cat([minivgg(x) for x in minivgg.prepare_all(test.pictures).split(8)])
    assert (answers.argmax(dim=1) == test.labels).double().mean() >= 0.95


def test_explanations_point_at_the_lesions(minivgg, leaves):
    sick = leaves[1].where(1)
    layer = last_conv(minivgg)
    squared, cam = [], []
    for picture, mask in zip(sick.pictures, sick.lesion_masks, strict=True):
        image, lesions = minivgg.prepare(picture), minivgg.prepare_mask(mask)
        squared.append(pointing_game(sensitivity(minivgg, image, 1), lesions))
        relevance = gradcam(minivgg, image, 1, layer=layer)
        cam.append(pointing_game(relevance, lesions, tolerance=7))
    print(
        f"on a lesion: squared gradient {sum(squared)}, Grad-CAM within 7 pixels {sum(cam)} of 50"
    )
    assert len(squared) == 50
    assert sum(squared) / 50 >= 0.9
    assert sum(cam) / 50 >= 0.6


def test_leaf_health_can_be_read_from_a_network_that_never_saw_it(leaves):
    model = load_model("minivgg-world")
    layer = feature_layers(model)[-1]
    train, test = (features(model, model.prepare_all(part.pictures), layer) for part in leaves)
    w = mean_difference(train, leaves[0].labels)
    assert 0.85 < roc_auc(discriminant(test, w), leaves[1].labels) < 0.99
