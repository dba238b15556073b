"""What an explanation will cost: counted passes, and seconds in proportion to them."""

import pytest
import torch
from conftest import assert_untouched, state_of

from labkit import cost as module
from labkit.cost import Cost, Speed, about, forecast, in_time, speed
from labkit.evaluate import counted_images
from labkit.methods import REGISTRY, Passes, explainer
from labkit.models import load_model

IMAGE = torch.zeros(3, 224, 224)
ONE = Speed(forward=1.0, gradient=10.0)


@pytest.mark.parametrize(
    ("method", "settings", "passes"),
    [
        ("gradcam", {}, Passes(forward=1)),
        ("sensitivity", {}, Passes(gradient=1)),
        ("smoothgrad", {"n_samples": 7}, Passes(gradient=7)),
        ("rise", {}, Passes(forward=2000)),
        ("rise", {"n_masks": 30}, Passes(forward=30)),
        ("occlusion", {"patch": 224}, Passes(forward=2)),
        ("occlusion", {"patch": 112, "stride": 112}, Passes(forward=5)),
        ("centre", {}, Passes()),
    ],
)
def test_passes_follow_the_settings(method, settings, passes):
    cost = forecast(method, settings, IMAGE, ONE)
    assert cost.passes == passes
    assert cost.seconds == passes.forward + 10 * passes.gradient


FEW = {
    "smoothgrad": {"n_samples": 3},
    "integrated_gradients": {"n_steps": 3},
    "occlusion": {"patch": 32, "stride": 16},
    "rise": {"n_masks": 12},
    "lime": {"n_samples": 12},
    "perturbation": {"steps": 3},
    "mask": {"steps": 3},
}


@pytest.mark.parametrize("method", REGISTRY)
def test_the_forecast_is_what_goes_through_the_network(method):
    model = load_model("minivgg", weights="random")
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    chosen = FEW.get(method, {})
    # Behind its first layers a network may be run without its pictures: those are not counted.
    whole = (lambda images: model(images).softmax(1)) if method == "occlusion" else model
    with counted_images(model) as count:
        explainer(method, model)(whole, image, 1, **chosen)
    passes = forecast(method, chosen, image, ONE).passes
    assert count() == pytest.approx(sum(passes), abs=1)  # some look at the whole image too


def test_the_probe_leaves_the_model_as_it_was():
    model = load_model("minivgg", weights="random").train()
    before = state_of(model)
    per_image = speed(model, torch.rand(3, 32, 32))
    assert_untouched(model, before)
    assert 0 < per_image.forward < 5
    assert 0 < per_image.gradient < 5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "less than a second"),
        (3.456, "about 3 s"),
        (43.21, "about 43 s"),
        (200, "about 3 min"),
    ],
)
def test_seconds_are_no_more_exact_than_they_are(seconds, words):
    assert about(seconds) == words


def test_a_cost_reads_as_a_sentence():
    assert str(Cost(Passes(2000, 0), 24.1)) == "2000 forward passes, about 24 s"
    assert str(Cost(Passes(1, 2), 0.5)) == "1 forward pass and 2 gradients, less than a second"
    assert str(Cost(Passes(0, 0), 0.0)) == "no pass, less than a second"


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved: `clock.now += 1`."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def handed_out(clock, items, durations, **settings):
    seen = []
    for item, duration in zip(in_time(items, **settings), durations, strict=False):
        seen.append(item)
        clock.now += duration
    return seen


def test_all_items_are_handed_out_while_there_is_time(clock, capsys):
    assert handed_out(clock, "abcd", [10] * 4, seconds=40, desc="leaves") == list("abcd")
    said = capsys.readouterr().err
    assert "leaves, about 40 s in all" in said
    assert "stopped" not in said


def test_items_may_differ_in_what_they_take(clock, capsys):
    costs = [50, 100, 200]
    assert handed_out(clock, "abc", [10, 20, 40], costs=costs, seconds=69, desc="samples") == [
        "a",
        "b",
    ]
    assert "samples, about 70 s in all" in capsys.readouterr().err
    assert handed_out(clock, "abc", [10, 20, 40], costs=costs, seconds=70) == list("abc")


@pytest.mark.parametrize("costs", [[1], [1, 0], [1, 2, 3]], ids=str)
def test_costs_that_do_not_fit_are_refused(costs):
    with pytest.raises(ValueError, match="costs must be a positive number for each of the 2 items"):
        list(in_time("ab", costs=costs))


def test_an_item_that_would_end_too_late_is_not_begun(clock, capsys):
    assert handed_out(clock, "abcd", [10] * 4, seconds=39) == list("abc")
    assert "stopped, to take about 39 s at the most" in capsys.readouterr().err


def test_the_pace_is_that_of_all_items_so_far(clock):
    assert handed_out(clock, "abcde", [1, 9, 9, 9, 9], seconds=20) == list("abc")


def test_the_first_item_is_handed_out_whatever_it_takes(clock):
    assert handed_out(clock, "abc", [1000] * 3, seconds=1) == ["a"]


def test_no_items_are_refused():
    with pytest.raises(ValueError, match="items must be at least 1, got 0"):
        list(in_time([]))
