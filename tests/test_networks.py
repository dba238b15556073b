"""The shipped networks do what their cards say."""

import json

import numpy as np
import pytest
import torch

from labkit.assets import asset
from labkit.data import STYLES, load_heritage, load_leaves, load_streets
from labkit.explain import gradcam, sensitivity
from labkit.metrics import energy_inside, pointing_game
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


@pytest.fixture(scope="module")
def heritage_network():
    return load_model("minivgg-heritage")


def test_minivgg_heritage_tells_the_shipped_buildings_apart(heritage_network):
    heritage = load_heritage()
    with torch.no_grad():
        images = heritage_network.prepare_all(heritage.pictures)
        answers = torch.cat([heritage_network(x) for x in images.split(8)]).argmax(dim=1)
    assert (answers == heritage.labels).double().mean() >= 0.9
    assert heritage_network.classes == heritage.classes == STYLES


def test_grad_cam_of_a_building_lies_on_it(heritage_network):
    model, heritage = heritage_network, load_heritage().subset(range(0, 48, 4))
    layer = last_conv(model)
    shares, chances = [], []
    for picture, parts, label in zip(
        heritage.pictures, heritage.part_masks, heritage.labels, strict=True
    ):
        place = model.prepare_mask(parts > 0)
        relevance = gradcam(model, model.prepare(picture), int(label), layer=layer)
        shares.append(energy_inside(relevance, place))
        chances.append(place.double().mean().item())
    print(f"Grad-CAM on the parts: {np.mean(shares):.2f}, by chance {np.mean(chances):.2f}")
    assert np.mean(shares) > 1.5 * np.mean(chances)


def test_in_a_street_the_map_moves_with_the_style(heritage_network):
    model = heritage_network
    for street in load_streets():
        image = model.prepare(street.picture)
        places = [model.prepare_mask(mask) for mask in street.masks]
        for own, other, label in zip(places, places[::-1], street.labels, strict=True):
            relevance = gradcam(model, image, label, layer=last_conv(model))
            assert energy_inside(relevance, own) > 2 * energy_inside(relevance, other)


def test_leaf_health_can_be_read_from_a_network_that_never_saw_it(leaves):
    model = load_model("minivgg-world")
    layer = feature_layers(model)[-1]
    train, test = (features(model, model.prepare_all(part.pictures), layer) for part in leaves)
    w = mean_difference(train, leaves[0].labels)
    assert 0.85 < roc_auc(discriminant(test, w), leaves[1].labels) < 0.99
