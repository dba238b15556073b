"""Controls move figures; where nobody can move them, a few settings are shown."""

from types import SimpleNamespace

import ipywidgets
import pytest

from labkit import widgets
from labkit.figures import Figure, new_canvas
from labkit.widgets import Choice, Slider, explore, front_end_attached

CONTROLS = {
    "threshold": Slider("Threshold", 0.5, 0.0, 1.0, 0.1),
    "layer": Choice("Layer", ["first", "last"], "last"),
}


def draw(threshold, layer):
    return Figure(new_canvas(1.0, 1.0)[0], f"{layer} at {threshold:.1f}")


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(widgets, "display", outputs.append)
    return outputs


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


@pytest.fixture
def live(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    explore(draw, CONTROLS, static=[])
    kinds = (ipywidgets.FloatSlider, ipywidgets.BoundedFloatText, ipywidgets.Dropdown)
    found = list(walk(shown[0]))
    slider, field, dropdown = (next(w for w in found if isinstance(w, kind)) for kind in kinds)
    figure = next(w for w in found if type(w) is ipywidgets.HTML)
    return SimpleNamespace(slider=slider, field=field, dropdown=dropdown, figure=figure)


def test_without_a_front_end_some_settings_are_shown(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: False)
    settings = [{"threshold": t, "layer": "first"} for t in (0.1, 0.9)]
    explore(draw, CONTROLS, static=settings)
    assert 'alt="first at 0.1"' in shown[0].data
    assert 'alt="first at 0.9"' in shown[0].data


def test_the_figure_is_drawn_at_once(live):
    assert 'alt="last at 0.5"' in live.figure.value


def test_slider_and_field_move_the_figure_and_each_other(live):
    live.slider.value = 0.8
    assert live.field.value == 0.8
    assert 'alt="last at 0.8"' in live.figure.value
    live.field.value = 0.2
    assert live.slider.value == 0.2
    assert 'alt="last at 0.2"' in live.figure.value
    live.dropdown.value = "first"
    assert 'alt="first at 0.2"' in live.figure.value


def test_every_control_has_a_label(live):
    assert live.slider.description == "Threshold"
    assert live.field.description == "Threshold (number)"
    assert live.dropdown.description == "Layer"
    assert live.slider.continuous_update is False


def test_a_failing_figure_says_so_and_raises(shown, monkeypatch):
    def fail(threshold):
        if threshold > 0.6:
            raise ValueError("too <high>")
        return draw(threshold, "last")

    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    explore(fail, {"threshold": CONTROLS["threshold"]}, static=[])
    found = list(walk(shown[0]))
    slider = next(w for w in found if isinstance(w, ipywidgets.FloatSlider))
    figure = next(w for w in found if type(w) is ipywidgets.HTML)
    with pytest.raises(ValueError, match="too <high>"):
        slider.value = 0.9
    assert 'role="alert"' in figure.value
    assert "too &lt;high&gt;" in figure.value
    slider.value = 0.3
    assert "alert" not in figure.value


@pytest.mark.parametrize("answers", [True, False])
def test_a_front_end_is_one_that_takes_input(monkeypatch, answers):
    kernel = SimpleNamespace(get_parent=lambda channel: {"content": {"allow_stdin": answers}})
    monkeypatch.setattr(widgets, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    assert front_end_attached() is answers


def test_plain_python_has_no_front_end():
    assert front_end_attached() is False
