"""Transfer learning: new heads on old networks, what learns, going on after an interruption."""

import copy
import inspect
import math

import numpy as np
import pytest
import torch
import torchvision
from conftest import assert_untouched, state_of
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from data_scripts import finetune as script
from data_scripts.finetune import (
    centre_logits,
    checkpoint_of,
    finetune,
    hold_out,
    main,
    parse,
    random_crop,
    read_folder,
    replace_head,
    save,
)
from labkit.data import load_leaves
from labkit.explain import gradcam
from labkit.models import Classifier, Preprocessing, last_conv, load_model, minivgg
from labkit.probe import attach_probe

SMALL = Preprocessing(resize=32, crop=32)
COLOURS = ("red", "green", "blue")


def classifier(network, architecture="minivgg", preprocessing=SMALL):
    model = Classifier(
        network,
        name="base",
        classes=["a", "b"],
        description="base: random",
        preprocessing=preprocessing,
        architecture=architecture,
    )
    return model.to(memory_format=torch.channels_last).eval()  # as load_model leaves it


def small_minivgg(*, batch_norm=False):
    """With random weights, its maps strong enough to learn from."""
    network = minivgg(2, batch_norm=batch_norm)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                scale = math.sqrt(2 / layer.weight[0].numel())
                layer.weight.normal_(0, scale, generator=generator)
    return classifier(network)


def coloured(n, classes=2, size=36, seed=0):
    """Noise with more of one colour: pictures and labels."""
    rng = np.random.default_rng(seed)
    labels = [i % classes for i in range(n)]
    pictures = rng.integers(0, 200, (n, size, size + 4, 3)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[..., label] += 55
    return list(pictures), labels


@pytest.fixture(scope="module")
def model():
    return small_minivgg()


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def changes(before, after):
    """The names of the weights, and of batch normalisation's statistics, that differ."""
    after = after.state_dict()
    return {
        name for name, value in before.state_dict().items() if not torch.equal(value, after[name])
    }


# The head


def vgg16():
    """Without the seconds that 138 million random numbers take."""
    with torch.device("meta"):
        network = torchvision.models.vgg16(init_weights=False)
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1e-3)
    return network


FAMILIES = {
    "minivgg": (lambda: minivgg(2), "classifier.1"),
    "vgg16": (vgg16, "classifier.6"),
    "resnet18": (torchvision.models.resnet18, "fc"),
    "squeezenet1_1": (torchvision.models.squeezenet1_1, "classifier.1"),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, "classifier.1"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_head_is_replaced_and_gradcam_reaches_the_layers_before_it(family):
    build, head = FAMILIES[family]
    network = build()
    layers, names, last = (
        dict(network.named_modules()),
        list(network.state_dict()),
        last_conv(network),
    )
    assert replace_head(network, 3) == head
    assert {n for n, layer in network.named_modules() if layer is not layers[n]} == {head}
    assert list(network.state_dict()) == names
    pictures, labels = coloured(6, 3)
    base = classifier(network, family, Preprocessing(64, 64))
    tuned, _ = finetune(base, pictures, labels, COLOURS, held_out=[0], epochs=1)
    assert changes(base, tuned) == {f"network.{head}.weight", f"network.{head}.bias"}
    assert last_conv(tuned) == last
    image = tuned.prepare(pictures[0])
    assert tuned(image[None]).shape == (1, 3)
    relevance = gradcam(tuned, image, 0, layer=last_conv(tuned))
    assert relevance.shape == (64, 64)
    assert torch.isfinite(relevance).all()


def test_a_head_is_drawn_from_its_seed_and_from_nothing_else():
    heads = []
    for seed in (0, 0, 1):
        network, before = minivgg(2), torch.get_rng_state()
        replace_head(network, 100, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        heads.append(network.classifier[1])
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)
    assert heads[0].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not heads[0].bias.any()


def test_centring_takes_the_mean_over_the_classes_off():
    linear = nn.Linear(2, 2)
    linear.weight.data = torch.tensor([[1.0, 5.0], [3.0, 1.0]])
    linear.bias.data = torch.tensor([4.0, 0.0])
    centre_logits(linear)
    assert_close(linear.weight.data, torch.tensor([[-1.0, 2.0], [1.0, -2.0]]))
    assert_close(linear.bias.data, torch.tensor([2.0, -2.0]))


def test_linear_heads_are_centred_and_squeezenets_convolution_is_not(model):
    pictures, labels = coloured(6)
    tuned, _ = finetune(model, pictures, labels, COLOURS[:2], held_out=[0], epochs=1)
    assert_close(tuned(tuned.prepare(pictures[0])[None]).sum().item(), 0.0, atol=1e-6, rtol=0)
    network = torchvision.models.squeezenet1_1()
    tuned, _ = finetune(
        classifier(network, "squeezenet1_1"), pictures, labels, COLOURS[:2], held_out=[0], epochs=1
    )
    assert tuned.network.classifier[1].weight.mean(dim=0).abs().max() > 1e-4


# What learns


def test_a_frozen_network_learns_as_a_slow_twin_does():
    # one batch an epoch, no dropout: then the order does not matter and nothing is left to chance
    model, (pictures, labels) = small_minivgg(), coloured(12)
    model.network.classifier[0].p = 0.0
    epochs, lr = 5, 0.01
    tuned, history = finetune(
        model, pictures, labels, COLOURS[:2], held_out=[0, 1], epochs=epochs, lr=lr, batch_size=99
    )
    twin = copy.deepcopy(model)
    replace_head(twin.network, 2)
    head = twin.network.classifier[1]
    images, labels = twin.prepare_all(pictures), torch.tensor(labels)
    optimiser = torch.optim.AdamW(head.parameters())
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        loss = F.cross_entropy(twin(images[2:]), labels[2:])
        assert history[epoch]["loss"] == pytest.approx(loss.item(), rel=1e-4)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        logits = twin(images[:2])
        held_out = F.cross_entropy(logits, labels[:2]).item()
        assert history[epoch]["held_out_loss"] == pytest.approx(held_out, rel=1e-4)
        right = (logits.argmax(dim=1) == labels[:2]).double().mean().item()
        assert history[epoch]["held_out_accuracy"] == right
    centre_logits(head)
    assert_close(weights_of(tuned.network), weights_of(twin.network), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("frozen", "epochs", "lr"), [(True, 40, 0.1), (False, 12, 0.01)])
def test_colours_are_learned(model, frozen, epochs, lr):
    pictures, labels = coloured(30, 3)
    tuned, history = finetune(
        model, pictures, labels, COLOURS, frozen=frozen, epochs=epochs, lr=lr, patience=epochs
    )
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(entry["held_out_accuracy"] for entry in history) == 1
    assert [tuned.predict(tuned.prepare(p), k=1)[0][0] for p in pictures[:3]] == list(COLOURS)


def test_frozen_means_that_nothing_but_the_head_changes():
    model, (pictures, labels) = small_minivgg(batch_norm=True).train(), coloured(8)
    frozen, all_learn = (
        finetune(model, pictures, labels, COLOURS[:2], held_out=[0], epochs=1, frozen=frozen)[0]
        for frozen in (True, False)
    )
    assert changes(model, frozen) == {"network.classifier.1.weight", "network.classifier.1.bias"}
    assert changes(model, all_learn) == set(model.state_dict())  # the statistics too
    assert not any(layer.training for layer in (*frozen.modules(), *all_learn.modules()))


def test_each_epoch_takes_new_crops_of_the_training_pictures_in_a_new_order(model, monkeypatch):
    pictures, labels = coloured(8)
    drawn = []

    def record(picture, preprocessing, rng):
        image = random_crop(picture, preprocessing, rng)
        drawn.append(([picture is other for other in pictures].index(True), image))
        return image

    monkeypatch.setattr(script, "random_crop", record)
    settings = {"held_out": [2, 5], "frozen": False, "epochs": 2, "batch_size": 4}
    finetune(model, pictures, labels, COLOURS[:2], **settings)
    first, second = dict(drawn[:6]), dict(drawn[6:])
    assert sorted(first) == sorted(second) == [0, 1, 3, 4, 6, 7]
    assert list(first) != list(second)
    assert not any(torch.equal(first[i], second[i]) for i in first)


def test_old_layers_learn_at_a_tenth_of_the_heads_rate():
    # AdamW's first step moves a weight w by the rate, whatever its gradient, and by its decay,
    # 0.01 w of it
    model, (pictures, labels) = small_minivgg(), coloured(8)
    model.network.classifier[0].p = 0.0
    lr = 0.01
    tuned, _ = finetune(
        model,
        pictures,
        labels,
        COLOURS[:2],
        held_out=[0],
        epochs=1,
        lr=lr,
        batch_size=99,
        frozen=False,
    )
    old, new = model.network.features[0].weight, tuned.network.features[0].weight
    assert_close(((new - old * (1 - 1e-5)).abs()).median().item(), lr / 10, rtol=1e-2, atol=0)
    assert tuned.network.classifier[1].bias.abs().tolist() == pytest.approx([lr, lr], rel=1e-3)


def test_the_best_epoch_is_kept_and_patience_ends_the_training(model):
    pictures, labels = coloured(12)
    held_out = [0, 1, 2, 3]
    for i in held_out:
        labels[i] = 1 - labels[i]  # the more is learned, the worse it gets
    tuned, history = finetune(
        model, pictures, labels, COLOURS[:2], held_out=held_out, lr=0.01, patience=4
    )
    losses = [entry["held_out_loss"] for entry in history]
    assert losses.index(min(losses)) == 0
    assert len(history) == 1 + 4
    with torch.no_grad():
        logits = tuned(tuned.prepare_all([pictures[i] for i in held_out]))
    kept = F.cross_entropy(logits, torch.tensor([labels[i] for i in held_out])).item()
    assert kept == pytest.approx(losses[0], rel=1e-5)
    assert f"validation accuracy {history[0]['held_out_accuracy']:.1%} on 4" in tuned.description


@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_and_the_global_generator_stay_as_they_were(frozen):
    model, (pictures, labels) = small_minivgg(), coloured(8)
    before, chance = state_of(model), torch.get_rng_state()
    tuned, _ = finetune(model, pictures, labels, COLOURS[:2], epochs=2, frozen=frozen)
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), chance)
    assert (model.name, model.classes) == ("base", ("a", "b"))
    left = state_of(tuned)
    assert not any(left["modes"]) and not any(left["hooks"]) and all(left["requires_grad"])
    assert left["grads"] == [None] * len(left["grads"])


def test_the_description_says_what_learned_from_what(model):
    pictures, labels = coloured(10)
    settings = {"epochs": 1, "name": "mine", "source": "noise"}
    frozen, _ = finetune(model, pictures, labels, COLOURS[:2], **settings)
    assert frozen.description.startswith(
        "mine: minivgg with a new head for red, green, trained by data_scripts/finetune.py on 8 "
        "pictures (noise); validation accuracy "
    )
    assert frozen.description.endswith(
        "% on 2 others; the layers before the head are those of base: random"
    )
    names = [str(i) for i in range(5)]
    other, _ = finetune(
        model, *coloured(10)[:1], [0, 1, 2, 3, 4] * 2, names, frozen=False, epochs=1
    )
    assert "finetuned: minivgg with a new head for 5 classes" in other.description
    assert other.description.endswith("learned too, starting from base: random")


def test_the_same_seed_gives_the_same_network(model):
    pictures, labels = coloured(8)
    results = [
        weights_of(
            finetune(
                model,
                pictures,
                labels,
                COLOURS[:2],
                held_out=[0],
                epochs=2,
                frozen=False,
                seed=seed,
            )[0]
        )
        for seed in (0, 0, 1)
    ]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_crops_are_squares_of_half_to_all_of_the_picture_mirrored_or_not():
    rows, columns = np.mgrid[:100, :140]
    picture = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    sides, mirrored, tops, lefts = [], [], [], []
    for seed in range(200):
        image = random_crop(picture, Preprocessing(50, 50), np.random.default_rng(seed))
        crop = classifier(nn.Identity()).picture(image).astype(int)
        assert crop.shape == (50, 50, 3)
        down, across = crop[-1, 0, 0] - crop[0, 0, 0], crop[0, -1, 1] - crop[0, 0, 1]
        assert down > 0 and abs(down - abs(across)) <= 2
        sides.append(down)
        mirrored.append(across < 0)
        tops.append(crop[..., 0].min())
        lefts.append(crop[..., 1].min())
    assert 66 <= min(sides) <= 72 and 95 <= max(sides) <= 99
    assert 70 < sum(mirrored) < 130
    assert (min(tops), min(lefts)) == (0, 0) or max(min(tops), min(lefts)) <= 2
    assert 20 <= max(tops) <= 31 and 55 <= max(lefts) <= 71


def test_a_loss_without_bounds_is_reported(model):
    pictures, labels = coloured(8)
    with pytest.raises(
        ValueError, match=r"lr must be small enough to learn, got 1e\+30.*try 1e\+29"
    ):
        finetune(model, pictures, labels, COLOURS[:2], lr=1e30, frozen=False)


# Going on after an interruption


@pytest.fixture
def interrupted(monkeypatch):
    """A training that stops in epoch k, after the weights changed and before they were kept."""

    def run(k, **settings):
        validate, calls = script._validate, []

        def stop(task):
            calls.append(task)
            if len(calls) > k:
                raise KeyboardInterrupt
            return validate(task)

        with monkeypatch.context() as patch:
            patch.setattr(script, "_validate", stop)
            with pytest.raises(KeyboardInterrupt):
                finetune(**settings)

    return run


@pytest.mark.parametrize(("frozen", "k"), [(True, 0), (True, 2), (False, 1)])
def test_an_interrupted_training_ends_with_the_same_weights(
    frozen, k, interrupted, tmp_path, monkeypatch
):
    pictures, labels = coloured(10)
    settings = {
        "model": small_minivgg(batch_norm=True),
        "pictures": pictures,
        "labels": labels,
        "classes": COLOURS[:2],
        "frozen": frozen,
        "epochs": 3,
        "batch_size": 3,
        "lr": 0.01,
    }
    through, history = finetune(**settings)
    settings["checkpoint"] = tmp_path / "mine.pt.partial"
    interrupted(k, **settings)
    assert settings["checkpoint"].exists() == (k > 0)
    done, epoch = [], script._epoch
    monkeypatch.setattr(script, "_epoch", lambda *a: done.append(1) or epoch(*a))
    torch.manual_seed(99)  # what the global generator holds does not matter
    resumed, log = finetune(**settings)
    assert len(done) == 3 - k
    assert log == history
    assert same(weights_of(resumed), weights_of(through))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt.partial"]


def test_the_best_epoch_may_lie_before_the_interruption(model, interrupted, tmp_path):
    pictures, labels = coloured(12)
    labels[:4] = [1 - label for label in labels[:4]]
    settings = {"held_out": [0, 1, 2, 3], "lr": 0.01, "patience": 3}
    settings |= {"model": model, "pictures": pictures, "labels": labels, "classes": COLOURS[:2]}
    through, history = finetune(**settings)
    settings["checkpoint"] = tmp_path / "partial"
    interrupted(2, **settings)
    resumed, log = finetune(**settings)
    assert log == history and len(log) == 4
    assert same(weights_of(resumed), weights_of(through))


def test_a_checkpoint_of_another_training_is_refused(model, interrupted, tmp_path):
    pictures, labels = coloured(8)
    path = tmp_path / "mine.pt.partial"
    settings = {"pictures": pictures, "labels": labels, "classes": COLOURS[:2], "held_out": [0]}
    settings |= {"model": model, "checkpoint": path}
    interrupted(1, **settings)
    kept = path.read_bytes()
    another = copy.deepcopy(model)
    with torch.no_grad():
        another.network.features[0].weight[0, 0, 0, 0] += 1
    for change, said in (
        ({"lr": 0.5}, r"lr 0\.001 instead of 0\.5; start"),
        ({"frozen": False, "epochs": 3}, "frozen True instead of False, epochs 20 instead of 3;"),
        ({"classes": ["red", "blue"]}, "classes red, green instead of red, blue"),
        ({"model": another}, r"with network \w+ instead of \w+;"),
        ({"pictures": [*pictures[:-1], pictures[0]]}, r"with pictures \w+ instead of \w+;"),
        ({"labels": labels[::-1]}, r"with pictures \w+ instead of \w+;"),
        ({"held_out": [1]}, r"with pictures \w+ instead of \w+;"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            finetune(**{**settings, **change})
        assert str(caught.value).startswith(f"{path} was left by a training with ")
        assert str(caught.value).endswith(f"or delete {path} to start anew")
        assert path.read_bytes() == kept


def test_a_damaged_checkpoint_is_named(model, tmp_path):
    pictures, labels = coloured(8)
    path = tmp_path / "mine.pt.partial"
    for content in (b"PK no checkpoint", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine.pt.partial is no readable checkpoint.*delete"):
            finetune(model, pictures, labels, COLOURS[:2], checkpoint=path)


# What does not fit


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"classes": ["red"]}, ValueError, r"classes must be two different names.*got \['red'\]"),
        ({"classes": ["red", "red"]}, ValueError, "classes must be two different names"),
        ({"labels": [0, 1]}, ValueError, r"labels must have shape \[8\].*got \[2\]"),
        ({"labels": [0, 1, 2, 1, 0, 1, -1, 1]}, IndexError, r"from 0 to 1, got \[-1, 2\]"),
        ({"labels": [0, 1, 0.5, 1, 0, 1, 0, 1]}, IndexError, r"whole numbers.*got \[0\.5\]"),
        ({"pictures": ["a.png"] * 8}, TypeError, "pictures must be arrays, got str; .*open_image"),
        ({"held_out": [8, -1]}, IndexError, r"held_out must be indices.*0 to 7, got \[-1, 8\]"),
        ({"held_out": []}, IndexError, "held_out must be indices of pictures, 0 to 7, got none"),
        ({"held_out": [1, 3, 5, 7]}, ValueError, "got 4 of 8, which leave none of green"),
        ({"labels": [0] * 7 + [1]}, ValueError, "two different things.*got 1 of 'green'"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number"),
        ({"patience": 0}, ValueError, "patience must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"lr": 0.0}, ValueError, r"lr must be above 0 and finite, got 0\.0"),
        ({"lr": math.nan}, ValueError, "lr must be above 0 and finite, got nan"),
    ],
)
def test_what_does_not_fit_is_named(model, change, error, said):
    pictures, labels = coloured(8)
    settings = {"pictures": pictures, "labels": labels, "classes": COLOURS[:2], **change}
    with pytest.raises(error, match=said):
        finetune(model, **settings)


def test_a_network_that_could_not_be_loaded_again_is_refused(model):
    pictures, labels = coloured(4)
    probed = attach_probe(model, torch.ones(64), 0.0, ["a", "b"])
    with pytest.raises(ValueError, match=r"model must be a network that .*load_model.*got base \+"):
        finetune(probed, pictures, labels, COLOURS[:2])
    with pytest.raises(ValueError, match="got Linear"):
        finetune(nn.Linear(2, 2), pictures, labels, COLOURS[:2])


# Holding out


def test_a_share_of_each_class_is_held_out():
    names = ["a"] * 10 + ["b"] * 30 + ["c"] * 2
    chosen = hold_out(names, range(42), 0.2, seed=0)
    assert [[names[i] for i in chosen].count(name) for name in "abc"] == [2, 6, 1]
    assert chosen == hold_out(names, range(42), 0.2, seed=0) == sorted(set(chosen))
    assert chosen != hold_out(names, range(42), 0.2, seed=1)


def test_a_group_stays_on_one_side():
    names, groups = ["a"] * 12 + ["b"] * 6, [i // 2 for i in range(12)] + [0, 0, 0, 1, 1, 1]
    for seed in range(10):
        chosen = hold_out(names, groups, 0.34, seed)
        of_a, of_b = [i for i in chosen if i < 12], [i for i in chosen if i >= 12]
        assert len(of_a) == 4 and len({groups[i] for i in of_a}) == 2
        assert of_b in ([12, 13, 14], [15, 16, 17])  # more than a third, but none is smaller


def test_neither_side_is_empty():
    for share in (0.01, 0.99):
        assert len(hold_out(["a"] * 2, range(2), share, seed=0)) == 1
    with pytest.raises(ValueError, match="of two different things.*got 1 of 'a'"):
        hold_out(["a", "a"], [7, 7], 0.5, seed=0)


# Folders


def write_pictures(folder, n, *, size=(36, 40), name="{}.png", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name.format(i))


def read(folder, share=0.2, side=32):
    return read_folder(folder, share=share, seed=0, jobs=1, side=side)


def test_a_folder_for_each_class(tmp_path):
    write_pictures(tmp_path / "mine" / "dogs", 5, size=(64, 100))
    write_pictures(tmp_path / "mine" / "cats" / "below", 4, size=(20, 30))
    write_pictures(tmp_path / "mine" / ".ipynb_checkpoints", 1)
    (tmp_path / "mine" / "dogs" / "0.png").rename(tmp_path / "mine" / "dogs" / "0.GIF")
    (tmp_path / "mine" / "cats" / "notes.txt").write_text("no picture")
    (tmp_path / "mine" / "cats" / "._0.png").write_text("what macOS leaves behind")
    pictures, labels, classes, held_out, source = read(tmp_path / "mine")
    assert classes == ["cats", "dogs"]
    assert labels == [0] * 4 + [1] * 5
    assert [labels[i] for i in held_out] == [0, 1]
    assert [picture.shape for picture in pictures] == [(20, 30, 3)] * 4 + [(32, 50, 3)] * 5
    assert source == "the folder mine"


def test_shrinking_changes_nothing_for_the_network(tmp_path, model):
    write_pictures(tmp_path / "a", 2, size=(100, 130))
    write_pictures(tmp_path / "b", 2)
    shrunk = read(tmp_path, side=model.preprocessing.resize).pictures[0]
    assert torch.equal(model.prepare(shrunk), model.prepare(tmp_path / "a" / "0.png"))


def test_a_monument_stays_on_one_side(tmp_path):
    for style, n in (("Modern", 4), ("Prehispanic", 6)):
        for monument in range(n):
            name = f"{style}_Casa{monument}_Ciudad_N_{{}}.png"
            write_pictures(tmp_path / "Images", 2, name=name)
            write_pictures(tmp_path / "Images", 2, name=name.replace("_N_", "_GFDM_N_"))
    write_pictures(tmp_path / "Density Maps", 2)
    for folder in (tmp_path, tmp_path / "Images"):
        examples = read(folder, share=0.3)
        assert examples.classes == ["Prehispanic", "Modern"]  # as in STYLES
        assert examples.labels == [1] * 8 + [0] * 12
        places = [i // 2 for i in examples.held_out]
        assert len(places) == 6 and all(places.count(place) == 2 for place in places)
        assert sum(examples.labels[i] for i in examples.held_out) == 2


def test_plantvillage_is_split_as_in_lab_1(tmp_path):
    color = tmp_path / "raw" / "color"
    write_pictures(color / "Apple___healthy", 14, name="0___RS_HL {}0.JPG", seed=1)
    write_pictures(color / "Apple___Black_rot", 10, name="0___JR_FrgE.S {}0.JPG", seed=2)
    write_pictures(color / "Tomato___healthy", 3)
    train, test = load_leaves(color, n_train=8, n_test=2)
    for folder in (tmp_path, tmp_path / "raw", color):
        examples = read(folder)
        assert examples.classes == train.classes == ("healthy", "black rot")
        assert examples.labels == train.labels.tolist() + test.labels.tolist()
        held_out = [examples.pictures[i] for i in examples.held_out]
        assert all(map(np.array_equal, held_out, test.pictures)) and len(held_out) == 4
        assert examples.source == "PlantVillage"


def test_folders_that_do_not_serve_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"FOLDER must hold.*got '.*none', which is no fol"):
        read(tmp_path / "none")
    with pytest.raises(ValueError, match=r"share \(--validation\) must be .* got 1"):
        read(tmp_path, share=1)
    with pytest.raises(ValueError, match="at least two classes, got none"):
        read(tmp_path)
    write_pictures(tmp_path / "a", 3)
    with pytest.raises(ValueError, match=r"at least two classes, got \['a'\].*a folder for each"):
        read(tmp_path)
    write_pictures(tmp_path / "b", 0)
    with pytest.raises(ValueError, match=r"got none in \['b'\]; they end in \.jpg"):
        read(tmp_path)
    write_pictures(tmp_path / "b", 1)
    with pytest.raises(ValueError, match="of two different things .* got 1 of 'b'"):
        read(tmp_path)
    write_pictures(tmp_path / "b", 2)
    (tmp_path / "b" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png' must be a picture"):
        read(tmp_path)


def test_an_apple_folder_with_too_few_pictures_is_named(tmp_path):
    write_pictures(tmp_path / "Apple___healthy", 3)
    write_pictures(tmp_path / "Apple___Black_rot", 1)
    with pytest.raises(ValueError, match="got 1 of 'Apple___Black_rot'"):
        read(tmp_path)


# Files


@pytest.mark.parametrize("family", ["minivgg", "resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_a_saved_network_is_loaded_as_it_was(family, tmp_path):
    pictures, labels = coloured(6, 3)
    network = small_minivgg().network if family == "minivgg" else FAMILIES[family][0]()
    how = Preprocessing(40, 36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    base = classifier(network, family, how)
    tuned, history = finetune(
        base, pictures, labels, COLOURS, held_out=[0], epochs=1, name="whatever"
    )
    save(tmp_path / "my_network.pt", tuned, history)
    loaded = load_model(tmp_path / "my_network.pt")
    assert same(weights_of(loaded), weights_of(tuned))
    assert (loaded.name, loaded.classes) == ("my_network", COLOURS)
    assert (loaded.architecture, loaded.preprocessing) == (family, how)
    assert loaded.description == tuned.description.replace("whatever", "my_network")
    assert not loaded.training
    image = tuned.prepare(pictures[0])
    assert torch.equal(loaded.prepare(pictures[0]), image)
    assert torch.equal(loaded(image[None]), tuned(image[None]))
    content = torch.load(tmp_path / "my_network.pt", weights_only=True)
    assert content["history"] == history


def test_what_was_fine_tuned_can_be_fine_tuned_again(model, tmp_path):
    pictures, labels = coloured(8)
    save(tmp_path / "one.pt", *finetune(model, pictures, labels, COLOURS[:2], epochs=1))
    twice, _ = finetune(
        load_model(tmp_path / "one.pt"), *coloured(9, 3), COLOURS, epochs=1, name="two"
    )
    assert twice.classes == COLOURS
    assert "two: minivgg" in twice.description and "those of one: minivgg" in twice.description


# Command line


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("plain", "speckled")):
        write_pictures(tmp_path / "pictures" / name, 4, size=(40, 40), seed=i)
    return tmp_path / "pictures"


def command(folder, out, *more):
    return [str(folder), "--model", "minivgg-world", "--out", str(out), "--jobs", "1", *more]


def test_the_command_writes_a_network_that_load_model_opens(folder, tmp_path, capsys):
    out = tmp_path / "new folder" / "mine.pt"
    main(
        command(folder, out, "--frozen", "--epochs", "2", "--validation", "0.5", "--device", "cpu")
    )
    model = load_model(out)
    assert model.classes == ("plain", "speckled")
    assert "on 4 pictures (the folder pictures); validation accuracy" in model.description
    assert "are those of minivgg-world: VGG-16's layout" in model.description
    assert [path.name for path in out.parent.iterdir()] == ["mine.pt"]
    said = capsys.readouterr().out
    assert model.description in said and f"MODEL = {str(out)!r}" in said


def test_the_same_command_goes_on_after_an_interruption(folder, tmp_path, monkeypatch):
    more = ("--frozen", "--epochs", "2", "--lr", "0.01", "--seed", "3", "--device", "cpu")
    main(command(folder, tmp_path / "whole.pt", *more))
    out, epoch, epochs = tmp_path / "mine.pt", script._epoch, []

    def second_fails(task, state, bar):
        epochs.append(len(state.history))
        if epochs == [0, 1]:
            raise KeyboardInterrupt
        return epoch(task, state, bar)

    monkeypatch.setattr(script, "_epoch", second_fails)
    with pytest.raises(SystemExit, match="stopped; the same command goes on"):
        main(command(folder, out, *more))
    assert checkpoint_of(out).name == "mine.pt.partial" and checkpoint_of(out).exists()
    assert not out.exists()
    with pytest.raises(SystemExit, match=r"finetune: .*mine.pt.partial was left.*epochs 2 instead"):
        main(command(folder, out, *more, "--epochs", "3"))
    main(command(folder, out, *more))
    assert epochs == [0, 1, 1]
    assert not checkpoint_of(out).exists()
    assert same(weights_of(load_model(out)), weights_of(load_model(tmp_path / "whole.pt")))


def test_what_is_wrong_with_a_command_is_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.pt").mkdir()
    for arguments, said in (
        (command(folder, tmp_path / "mine.pth"), r"--out must be a file whose name ends in \.pt"),
        (command(folder, tmp_path / "folder.pt"), "--out must be a file whose name ends"),
        (command(folder, tmp_path / "file" / "mine.pt"), "--out must be where a file can be writ"),
        (command(tmp_path / "none", tmp_path / "mine.pt"), "FOLDER must hold"),
        (command(folder, tmp_path / "mine.pt", "--model", "vgg-16"), "did you mean 'vgg16'"),
        (command(folder, tmp_path / "mine.pt", "--lr", "-1"), "lr must be above 0"),
    ):
        with pytest.raises(SystemExit, match=said) as caught:
            main(arguments)
        assert caught.value.code.startswith("finetune: ") and "\n" not in caught.value.code
    assert not list(tmp_path.glob("mine.pt*"))


def test_command_and_function_have_the_same_defaults():
    options = vars(parse(["folder", "--model", "minivgg", "--out", "mine.pt"]))
    parameters = inspect.signature(finetune).parameters
    for name in ("epochs", "lr", "batch_size", "patience", "seed"):
        assert options[name] == parameters[name].default, name
    assert not options["frozen"]


# The real thing


@pytest.mark.real
def test_squeezenet_learns_black_rot_from_forty_leaves(real_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(real_folder / "torch"))
    train, test = load_leaves(real_folder / "plantvillage", n_train=20, n_test=25)
    both = train + test
    tuned, history = finetune(
        load_model("squeezenet1_1"),
        both.pictures,
        both.labels,
        both.classes,
        held_out=range(len(train), len(both)),
        epochs=8,
        name="leaves",
    )
    accuracy = max(entry["held_out_accuracy"] for entry in history)
    print(f"validation accuracy {accuracy:.1%} on {len(test)} leaves")
    assert accuracy >= 0.9
    save(tmp_path / "leaves.pt", tuned, history)
    loaded = load_model(tmp_path / "leaves.pt")
    assert loaded.classes == both.classes
    assert last_conv(loaded) == "features.12"
    image = loaded.prepare(test.pictures[-1])
    assert gradcam(loaded, image, 1, layer=last_conv(loaded)).max() > 0


@pytest.mark.real
def test_real_photographs_of_one_monument_a_style_are_too_few(real_folder):
    with pytest.raises(ValueError, match="of two different things .* got 1 of 'Colonial'"):
        read(real_folder / "mexculture142" / "images")
