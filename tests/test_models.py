"""Loading networks, and what a Classifier knows."""

import copy
import pickle
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from conftest import assert_untouched, state_of
from torch import nn
from torch.testing import assert_close

from labkit.models import (
    Classifier,
    feature_layers,
    last_conv,
    last_maps,
    load_model,
    minivgg,
    weights_file,
)


@pytest.fixture(scope="module")
def model():
    return load_model("minivgg", weights="random")


def test_minivgg_has_vgg16s_layers_under_vgg16s_names():
    ours = minivgg(2).features
    theirs = torchvision.models.vgg16().features
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    strides = [layer.stride for layer in theirs if hasattr(layer, "stride")]
    assert [layer.stride for layer in ours if hasattr(layer, "stride")] == strides


def test_the_networks_layers_go_by_their_own_names(model):
    assert model.get_submodule("features.28") is model.network.features[28]
    assert model.features[28] is model.network.features[28]
    with pytest.raises(AttributeError):
        model.no_such_layer  # noqa: B018


def test_it_can_be_copied_and_pickled(model):
    x = torch.randn(1, 3, 32, 32)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_close(twin(x), model(x))
        assert twin.features[0] is not model.features[0]


def test_without_a_gpu_it_is_on_the_cpu_and_says_so(model):
    assert model.device == torch.device("cpu")
    assert model.runs_on == "the CPU"
    assert load_model("minivgg", weights="random", device="meta").runs_on == "meta"


def test_a_picture_survives_the_way_there_and_back(model):
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    image = model.prepare(picture)
    assert image.shape == (3, 224, 224)
    assert np.array_equal(model.picture(image), picture)


def test_preparation_is_torchvisions(model):
    resnet = load_model("resnet18", weights="random")
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    transform = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    expected = transform(torchvision.transforms.functional.to_pil_image(picture))
    assert_close(resnet.prepare(picture), expected, rtol=0, atol=1e-6)


def test_a_mask_goes_the_way_of_its_picture():
    resnet = load_model("resnet18", weights="random")
    mask = np.zeros((256, 256), dtype=bool)
    mask[16:128] = True  # the crop takes away 16 rows above and below
    prepared = resnet.prepare_mask(mask)
    assert prepared.dtype == torch.bool
    assert prepared[:112].all()
    assert not prepared[112:].any()


def test_a_pixel_belongs_to_the_mask_when_most_of_it_does(model):
    mask = np.zeros((672, 672), dtype=bool)  # three rows of the mask to one of the image
    for rows, expected in ((10, 3), (11, 4)):
        mask[:rows] = True
        assert model.prepare_mask(mask).sum(dim=0).tolist() == [expected] * 224


def test_a_classifier_that_is_not_filled_yet_has_no_network():
    with pytest.raises(AttributeError, match="network"):
        Classifier.__new__(Classifier).network  # noqa: B018


def test_predict_names_the_best_classes_and_keeps_the_mode(model):
    model.train()
    prediction = model.predict(torch.zeros(3, 32, 32))
    assert model.training
    model.eval()
    assert {name for name, _ in prediction} == set(model.classes)
    assert prediction[0][1] >= prediction[1][1]
    assert sum(p for _, p in prediction) == pytest.approx(1)
    assert str(prediction).splitlines()[0].endswith(prediction[0][0])


def test_predict_leaves_every_layer_as_it_was(small_network, image):
    model = Classifier(small_network, name="small", classes=list("abc"), description="-")
    small_network[1].eval()  # batch norm held fixed while the rest is trained, as in fine-tuning
    before = state_of(model)
    in_training = model.predict(image)
    assert_untouched(model, before)
    assert in_training == copy.deepcopy(model).eval().predict(image)  # no dropout
    with pytest.raises(ValueError, match="to have 3 channels, but got 2"):
        model.predict(image[:2])
    assert_untouched(model, before)


def test_predict_shows_as_many_classes_as_asked_for_and_there_are(model):
    assert len(model.predict(torch.zeros(3, 32, 32), k=1)) == 1
    assert len(model.predict(torch.zeros(3, 32, 32), k=9)) == 2


def test_a_networks_own_state_dict_fits_the_classifier(model):
    twin = load_model("minivgg", weights="random")
    x = torch.randn(1, 3, 32, 32)
    assert not torch.equal(twin(x), model(x))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minivgg", "features.29"),
        ("vgg16", "features.29"),
        ("resnet18", "layer4"),
        ("squeezenet1_1", "features.12"),
        ("mobilenet_v2", "features.18"),
    ],
)
def test_the_last_feature_maps_are_named(name, expected):
    network = minivgg(2) if name == "minivgg" else getattr(torchvision.models, name)()
    assert last_conv(network) == expected
    wrapped = Classifier(network, name=name, classes=["a", "b"], description="-")
    assert last_conv(wrapped) == expected


def test_the_last_maps_of_an_unknown_network_are_named(small_network):
    assert last_maps(small_network) == last_conv(small_network) == "5"
    with pytest.raises(ValueError, match="got Sequential without any.*sensitivity"):
        last_maps(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(3, 2, 2))


def test_probes_may_read_each_stage():
    vgg = ["features.4", "features.9", "features.16", "features.23", "features.30"]
    assert feature_layers(minivgg(2)) == vgg
    assert feature_layers(torchvision.models.resnet18())[-1] == "layer4"
    squeezenet = torchvision.models.squeezenet1_1()
    assert feature_layers(squeezenet) == ["features.2", "features.5", "features.8", "features.12"]
    mobilenet = torchvision.models.mobilenet_v2()
    blocks = ["features.1", "features.3", "features.6", "features.13", "features.18"]
    assert feature_layers(mobilenet) == blocks


def test_probes_may_read_the_stages_that_timm_names():
    stages = [f"blocks.{n}" for n in (0, 1, 2, 4, 6)]
    assert feature_layers(load_model("efficientnet_lite0")) == [*stages, "bn2"]
    # what stands behind the last maps is not offered: only the class token is read of it
    blocks = feature_layers(load_model("timm/vit_tiny_patch16_224", weights="random"))
    assert blocks == [f"blocks.{n}" for n in range(len(blocks))] and len(blocks) == 11


def test_a_network_without_stages_has_its_last_maps_to_read(small_network):
    assert feature_layers(small_network) == ["5"]
    with pytest.raises(ValueError, match="must run on a batch of images"):
        feature_layers(nn.Linear(2, 2))


def test_vgg16s_last_maps_are_512_by_7_by_7():
    layer = feature_layers(model := torchvision.models.vgg16())[-1]
    with torch.no_grad():
        maps = model.features(torch.zeros(1, 3, 224, 224))
    assert layer == "features.30"
    assert maps.shape == (1, 512, 7, 7)
    assert maps.flatten(1).shape[1] == 25088


def test_random_weights_say_so(model):
    assert "learned nothing" in model.description


def test_weights_come_from_a_file_in_any_precision(tmp_path):
    network = minivgg(2)
    state = {key: value.half() for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "mine.pt")
    loaded = load_model("minivgg", weights=tmp_path / "mine.pt")
    assert str(tmp_path / "mine.pt") in loaded.description
    for key, value in loaded.network.state_dict().items():
        assert value.dtype == torch.float32
        assert_close(value, state[key].float())


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "half.pt"
    torch.save(minivgg(2).state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"half.pt is cut off or damaged .*; copy or download"):
        load_model("minivgg", weights=path)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save(Trap(), tmp_path / "trap.pt")
    with pytest.raises(ValueError, match=r"holds a Python object \(exec\), and opening it could"):
        load_model("minivgg", weights=tmp_path / "trap.pt")


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from the file ran')",))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt; check the path"):
        load_model("minivgg", weights=tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"'random', one of IMAGENET1K_V1.*got 'nonsense'"):
        load_model("resnet18", weights="nonsense")


@pytest.fixture
def written(model):
    """What data_scripts/finetune.py writes to a file."""
    return {
        "network": "minivgg",
        "classes": ["round", "square", "other"],
        "preprocessing": {"resize": 40, "crop": 32, "mean": (0.5, 0.4, 0.3), "std": (0.2,) * 3},
        "description": "minivgg, taught shapes",
        "state_dict": minivgg(3).state_dict(),
        "history": [],
    }


def test_a_network_of_your_own_comes_from_its_file(written, tmp_path):
    torch.save(written, tmp_path / "shapes.pt")
    loaded = load_model(str(tmp_path / "shapes.pt"))
    assert loaded.name == "shapes"
    assert loaded.classes == ("round", "square", "other")
    assert loaded.description == "shapes: minivgg, taught shapes"
    assert loaded.architecture == "minivgg"
    assert not loaded.training
    assert_close(loaded.network.state_dict(), written["state_dict"], rtol=0, atol=0)
    image = loaded.prepare(np.full((50, 60, 3), 255, dtype=np.uint8))
    assert image.shape == (3, 32, 32)
    assert_close(image[:, 0, 0], torch.tensor([2.5, 3.0, 3.5]))
    assert last_conv(loaded) == "features.29"


def test_its_file_is_looked_for_here_then_in_the_project(written, tmp_path, monkeypatch):
    for folder, description in (("notebooks", "here"), ("project", "there")):
        (tmp_path / folder).mkdir()
        torch.save({**written, "description": description}, tmp_path / folder / "both.pt")
    torch.save(written, tmp_path / "project" / "one.pt")
    monkeypatch.setattr("labkit.models.PROJECT", tmp_path / "project")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert load_model("one.pt").name == "one"
    assert load_model("both.pt").description == "both: here"


def test_a_file_without_suffix_is_loaded_but_hides_no_network(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "minivgg"):
        torch.save(written, name)
    assert load_model("mine").classes == ("round", "square", "other")
    assert load_model("minivgg").classes == ("healthy", "black rot")


def test_each_network_says_what_it_is_built_as():
    assert load_model("minivgg-world").architecture == "minivgg"
    assert load_model("minivgg", weights="random").architecture == "minivgg"
    assert load_model("mobilenet_v2", weights="random").architecture == "mobilenet_v2"


def test_a_missing_network_of_your_own_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load_model("mine.pt")
    said = str(caught.value)
    assert "got 'mine.pt', which is no file here" in said
    assert str(tmp_path / "mine.pt") in said
    assert "python -m data_scripts.finetune FOLDER --model resnet18 --out mine.pt" in said


def test_weights_alone_are_told_from_a_network(tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(minivgg(2).state_dict(), path)
    with pytest.raises(
        ValueError, match=r"weights alone.*load_model\('resnet18', weights=.*mine.pt"
    ):
        load_model(path)
    assert load_model("minivgg", weights=path).name == "minivgg"


def test_a_network_is_told_from_weights_alone(written, tmp_path):
    torch.save(written, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=r"is a whole network.*load_model\('.*mine\.pt'\)"):
        load_model("minivgg", weights=tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=r"weights must be None for a network from a file, got 'r"):
        load_model(tmp_path / "mine.pt", weights="random")


def test_a_damaged_network_of_your_own_is_named(written, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(written, path)
    whole = path.read_bytes()
    for content, words in {
        whole[:1000]: "mine.pt is cut off or damaged .*; copy it again or fine-tune the net",
        b"": "mine.pt is empty; copy it again or fine-tune the network again",
        b"no network": "mine.pt is a text file that begins with 'no network'",
    }.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            load_model(path)
    torch.save(Trap(), path)
    with pytest.raises(ValueError, match=r"holds a Python object \(exec\)"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "alexnet"}, r"\(ValueError: there is no network 'alexnet'\)"),
        (
            {"classes": ["one", "two"]},
            r"\(RuntimeError: Error\(s\) in loading state_dict for \w+:\)",
        ),
        ({"preprocessing": {"size": 3}}, r"\(TypeError: .*unexpected keyword argument 'size'\)"),
        ({"state_dict": None}, r"\(TypeError: .*\)"),
    ],
)
def test_a_file_that_does_not_fit_together_is_named(written, tmp_path, change, said):
    torch.save({**written, **change}, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=f"mine.pt is no network that .* wrote to the end {said}"):
        load_model(tmp_path / "mine.pt")


def test_a_file_that_holds_something_else_is_named(written, tmp_path):
    torch.save([torch.ones(2)], tmp_path / "0.pt")
    with pytest.raises(ValueError, match=r"0\.pt holds no weights but a list; save them"):
        load_model(tmp_path / "0.pt")
    del written["network"]
    torch.save(written, tmp_path / "1.pt")
    with pytest.raises(ValueError, match=r"1\.pt holds weights alone, without the network's name"):
        load_model(tmp_path / "1.pt")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"got 'vgg-16'; did you mean 'vgg16'\?"):
        load_model("vgg-16")
    with pytest.raises(ValueError, match=r"such as 'my_network\.pt', got 'zebra'$"):
        load_model("zebra")


def test_without_network_the_error_says_where_to_put_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    with pytest.raises(FileNotFoundError) as caught:
        load_model("resnet18")
    said = str(caught.value)
    assert "no route to host" in said
    assert weights.url in said
    assert str(tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in said
    assert "'minivgg'" in said


def test_a_file_put_there_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = torchvision.models.squeezenet1_1()
    path = weights_file(torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1)
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    loaded = load_model("squeezenet1_1")
    assert_close(loaded.network.state_dict(), network.state_dict())
    assert "IMAGENET1K_V1" in loaded.description
    assert len(loaded.classes) == 1000


def test_other_weights_bring_their_own_preparation(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2
    weights_file(weights).parent.mkdir(parents=True)
    torch.save(torchvision.models.mobilenet_v2().state_dict(), weights_file(weights))
    loaded = load_model("mobilenet_v2", weights="IMAGENET1K_V2")
    assert (loaded.preprocessing.resize, loaded.preprocessing.crop) == (232, 224)
    assert "IMAGENET1K_V2" in loaded.description


@pytest.mark.real
@pytest.mark.parametrize(("name", "probability"), [("squeezenet1_1", 0.55), ("mobilenet_v2", 0.73)])
def test_real_networks_know_the_cat(name, probability, real_folder, monkeypatch):
    from skimage.data import chelsea

    monkeypatch.setenv("TORCH_HOME", str(real_folder / "torch"))
    model = load_model(name)
    ((best, p),) = model.predict(model.prepare(chelsea()), k=1)
    assert best == "Egyptian cat"
    assert p == pytest.approx(probability, abs=0.02)


def test_maps_and_points_go_where_the_picture_goes():
    # 300 x 200 pixels: the shorter side becomes 224, then columns are cut off on both sides
    model = load_model("minivgg")
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[40:60, 180:220] = 255
    image = model.prepare(picture)[0]
    gaze = model.prepare_map(torch.from_numpy(picture[..., 0] / 255.0))
    scaled = (image - image.min()) / (image.max() - image.min())
    assert_close(gaze, scaled, atol=0.01, rtol=0)
    corner, centre = model.prepare_points(torch.tensor([[0.0, 0.0], [200.0, 50.0]]), (200, 300))
    assert corner.tolist() == [-56.0, 0.0]
    x, y = centre.tolist()
    rows, columns = torch.nonzero(gaze > 0.5).double().add(0.5).mean(dim=0).tolist()
    assert (x, y) == (pytest.approx(columns, abs=0.6), pytest.approx(rows, abs=0.6))
