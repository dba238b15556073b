"""What labkit gives on a GPU is what it gives on the CPU.

The GPU is a pretended one where there is none, and where `conftest.py` hides it: see there.
"""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from cases import case
from conftest import assert_untouched, state_of
from pretended_gpu import pretended_gpu

from labkit import explain
from labkit.cost import speed
from labkit.engine.batches import GPU_BATCH, GPU_BYTES_PER_VALUE, choose_batch_size
from labkit.engine.hooks import activations_and_gradients, receptive_field
from labkit.evaluate import Case, Plan, evaluate, load_maps, loaded, run
from labkit.figures import curves, feature_maps, gallery, heatmaps, learning
from labkit.methods import REGISTRY, explainer
from labkit.metrics import (
    blurred,
    deletion,
    density_map,
    insertion,
    mean_interval,
    note,
    perturbed,
    randomisation,
    split_half,
)
from labkit.models import Preprocessing, last_conv, load_model
from labkit.probe import attach_probe, features, mean_difference, threshold_sweep
from labkit.workbench import Workbench

TOLERANCE = 1e-4  # of the largest value
SIDE = 64
FEW = {  # less of what takes long
    "smoothgrad": {"n_samples": 3},
    "integrated_gradients": {"n_steps": 3},
    "rise": {"n_masks": 20},
    "lime": {"n_samples": 20},
    "perturbation": {"steps": 3},
    "mask": {"steps": 3},
}


@pytest.fixture(autouse=True)
def gpu():
    """One is there, real or pretended; a real one computes as exactly as the CPU."""
    exact = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}
    with torch.backends.cudnn.flags(**exact):
        if torch.cuda.is_available():
            yield
        else:
            with pretended_gpu():
                yield


@pytest.fixture(scope="module", params=["minivgg", "resnet18"])
def network(request):
    torch.manual_seed(0)
    return small(request.param)


@pytest.fixture
def twin(network):
    return copy.deepcopy(network).to("cuda")


@pytest.fixture
def image():
    return torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def small(name, device="cpu"):
    """A network for small pictures; only the embedded one has learned something."""
    weights = None if name == "minivgg" else "random"
    model = load_model(name, weights=weights, device=device)
    model.preprocessing = Preprocessing(SIDE, SIDE)
    return model


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def assert_agree(there, here):
    assert torch.isfinite(here).all()
    assert (there.cpu() - here).abs().max() <= TOLERANCE * here.abs().max()


def attached(model, image):
    """The logits of a network with a probe behind it."""
    phi = features(model, torch.stack([image, -image]), last_conv(model))
    assert phi.device.type == "cpu"
    w = mean_difference(phi, torch.tensor([0, 1]))
    probed = attach_probe(model, w, 0.5, ("a", "b"), layer=last_conv(model))
    return probed(image[None])[0].detach()


MAPS = {  # beside those of the registry; all on the image's device
    "input_gradient": lambda m, x: explain.input_gradient(m, x, 1),
    "a baseline": lambda m, x: explain.integrated_gradients(m, x, 1, baseline=x / 2, n_steps=3),
    "a cover": lambda m, x: explain.occlusion(m, x, 1, baseline=x.mean((1, 2), keepdim=True)),
    "a straight-through biased gradient": lambda m, x: explain.sensitivity(
        explain.biased(m, rule="straight-through"), x, 1
    ),
    "smooth Grad-CAM": lambda m, x: explain.smoothgrad(
        m, x, 1, explain=partial(explain.gradcam, layer=last_conv(m)), n_samples=3
    ),
    "rise_all": lambda m, x: explain.rise_all(m, x, n_masks=10),
    "rise until": lambda m, x: explain.rise(m, x, 1, n_masks=128, cells=2, until=0.01),
    "rise of a function": lambda m, x: explain.rise(
        lambda images: m(images).softmax(1).detach().cpu().numpy(), x, 1, n_masks=10
    ),
    "lime of segments": lambda m, x: explain.lime(
        m, x, 1, segments=explain.segment(x, "grid", n_segments=9), n_samples=20, hide=0.0
    ),
    "segment": lambda m, x: explain.segment(x, n_segments=16).float() + 1,
    "a mask to the mean colour": lambda m, x: explain.learn_mask(
        m, x, 1, baseline=torch.zeros_like(x), cells=8, steps=3
    ),
    "perturbed by learning": lambda m, x: explain.learn_perturbation(m, x, 1, steps=3).perturbed,
    "centers": lambda m, x: explain.centers(x[0], 2),
    "gradients of maps": lambda m, x: activations_and_gradients(m, x, 1, last_conv(m))[1],
    "blurred": lambda m, x: blurred(x),
    "perturbed": lambda m, x: perturbed(x, x[0], 0.3),
    "a probe": attached,
}

NUMBERS = {
    "deletion": lambda m, x: deletion(m, x, x[0], 1, n_steps=8).score,
    "insertion": lambda m, x: insertion(m, x, x[0], 1, n_steps=8).score,
    "split_half": lambda m, x: [split_half(partial(explain.rise, n_masks=10), m, x, 1)],
    "receptive_field": lambda m, x: receptive_field(m, x, last_conv(m)),
    "scores": lambda m, x: explain.learn_perturbation(m, x, 1, steps=3).losses,
    "predict": lambda m, x: [p for _, p in m.predict(x)],
    "mean_interval": lambda m, x: mean_interval(x[0, 0]),
    "threshold_sweep": lambda m, x: threshold_sweep(x[0, 0], x[0, 1] > 0).accuracy,
}


def few(method, network):
    """The settings that keep a method short; behind a batch norm, the biased gradient's rule."""
    rule = {"rule": "straight-through"} if (method, network.name) == ("biased", "resnet18") else {}
    return {**FEW.get(method, {}), **rule}


@pytest.mark.parametrize("method", REGISTRY)
def test_the_map_of_a_method_is_the_cpus(network, twin, image, method):
    there = image.to("cuda")
    before = state_of(twin)
    S = explainer(method, twin)(twin, there, 1, **few(method, network))
    assert S.device == there.device
    assert_agree(S, explainer(method, network)(network, image, 1, **few(method, network)))
    assert_untouched(twin, before)
    assert note(S) == note(S.cpu())


def test_what_else_has_a_shape_is_the_cpus(network, twin, image):
    there = image.to("cuda")
    for name, ask in MAPS.items():
        with case(name):
            values = ask(twin, there)
            assert values.device == there.device
            assert_agree(values, ask(network, image))


def test_numbers_are_the_cpus(network, twin, image):
    for name, ask in NUMBERS.items():
        with case(name):
            there, here = ask(twin, image.to("cuda")), ask(network, image)
            assert_agree(torch.as_tensor(there), torch.as_tensor(here))


def test_the_network_is_drawn_anew_as_on_the_cpu(network, twin, image):
    method = explain.sensitivity
    last = ["classifier.1"] if network.name == "minivgg" else ["fc", "layer4.1.conv2"]
    ask = partial(randomisation, layers=last, seed=3)
    there, here = ask(method, twin, image.to("cuda"), 1), ask(method, network, image, 1)
    for a, b in zip(there, here, strict=True):
        assert a.rank_correlation == pytest.approx(b.rank_correlation, abs=TOLERANCE)


def test_a_table_is_the_cpus(network, twin):
    fixations = torch.tensor([[10.0, 20.0], [40.0, 50.0]])
    truth = {"density": density_map(fixations, (SIDE, SIDE)), "mask": picture()[..., 0] > 127}
    case = Case("noise", picture(), fixations=fixations, target=1, **truth)
    names = ("sensitivity", "gradcam", "centre", "random")
    here, there = (
        evaluate(model, [case], {name: explainer(name, model) for name in names})
        for model in (network, twin)
    )
    numbers = here.select_dtypes("number").columns.drop("seconds")
    assert {"cc", "nss", "energy_inside", "deletion", "probability", "ties"} < set(numbers)
    for name in numbers:
        assert there[name].tolist() == pytest.approx(here[name].tolist(), abs=TOLERANCE), name


def test_a_long_evaluation_keeps_what_the_gpu_gave(tmp_path):
    loaded.cache_clear()
    try:
        run(Plan("minivgg", {"gradcam": {}}, metrics=()), [Case("noise", picture())], tmp_path)
        assert loaded("minivgg", None).device.type == "cuda"
    finally:
        loaded.cache_clear()
    assert load_maps(tmp_path, "noise", "gradcam")["relevance"].device.type == "cpu"


def test_the_workbench_opens_asks_and_draws_there(twin, tmp_path):
    bench = Workbench(twin)
    bench.open(picture())
    assert bench.image.device.type == "cuda"
    for method in ("gradcam", "rise"):
        bench.run(method, 1, **FEW.get(method, {}))
    assert "RISE (lab 5)" in bench.figure().alt
    assert bench.report(tmp_path / "report.html").stat().st_size > 10_000
    assert "forward pass" in str(bench.cost("rise", n_masks=10))


def test_a_forecast_waits_for_the_gpu(twin, image, monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: waits.append(device))
    speed(twin, image.to("cuda"))
    assert len(waits) == 2


def test_figures_draw_what_is_on_the_gpu(image):
    S = image[0].to("cuda").requires_grad_()
    about = {"alt": "noise"}
    assert heatmaps(picture(), {"noise": S}, mask=S > 0, **about).alt.startswith("noise ")
    gallery([picture()], ["noise"], masks=[S > 0], **about)
    feature_maps(S[None], ["noise"], **about)
    learning({"noise": picture()}, {"row": S[0].abs()}, **about)
    curves(range(SIDE), {"rows": (S[0], S[1], S[2])}, xlabel="x", ylabel="y", **about)


def test_load_model_takes_the_gpu_that_torch_sees_and_prepares_for_it(image):
    model = small("minivgg", device=None)
    assert model.device == torch.device("cuda:0")
    assert model.runs_on == f"cuda:0 ({torch.cuda.get_device_name()})"
    assert model.prepare(picture()).device == model.device
    assert model.prepare_all([picture()]).device == model.device
    assert model.prepare_map(image[0]).device == model.device
    assert model.prepare_mask(np.ones((SIDE, SIDE), bool)).device == model.device
    assert np.array_equal(model.picture(model.prepare(picture())), picture())
    assert small("minivgg", device="cpu").runs_on == "the CPU"


def test_the_batch_follows_the_free_memory(image, monkeypatch):
    needed = GPU_BYTES_PER_VALUE * image.numel()
    for free, size in ((5.5 * needed, 5), (0.5 * needed, 1), (1000 * needed, GPU_BATCH)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, n=free: (int(n), int(n)))
        assert choose_batch_size(image.to("cuda")) == size
