"""Controls move figures; where nobody can move them, a few settings are shown."""

import asyncio
from types import SimpleNamespace

import ipywidgets
import pytest

from labkit import widgets
from labkit.figures import Figure, new_canvas
from labkit.widgets import Choice, Slider, Toggles, explore, front_end_attached, watch

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


def test_the_error_of_the_sliders_steps_reaches_neither_field_nor_figure(shown, monkeypatch):
    seen = []
    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    controls = {"steps": Slider("Steps", 200, 10, 2000, 10)}
    explore(lambda steps: seen.append(steps) or draw(steps, "last"), controls, static=[])
    found = list(walk(shown[0]))
    slider = next(w for w in found if isinstance(w, ipywidgets.FloatSlider))
    field = next(w for w in found if isinstance(w, ipywidgets.BoundedFloatText))
    slider.value = 219.99999999999997  # what Chromium sends after two arrow keys
    assert (field.value, seen) == (220.0, [200.0, 220.0])


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


def test_toggles_are_a_checkbox_each(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    toggles = Toggles("Superpixels", ["left", "right"], [True, False])
    explore(lambda on: draw(0.0, str(on)), {"on": toggles}, static=[])
    found = list(walk(shown[0]))
    boxes = [w for w in found if isinstance(w, ipywidgets.Checkbox)]
    figure = next(w for w in found if type(w) is ipywidgets.HTML)
    assert [box.description for box in boxes] == ["left", "right"]
    assert any(isinstance(w, ipywidgets.Label) and w.value == "Superpixels" for w in found)
    assert "(True, False)" in figure.value
    boxes[1].value = True
    assert "(True, True)" in figure.value
    boxes[0].value = False
    assert "(False, True)" in figure.value


COUNT = {"to": Slider("To", 4, 1, 9, 1)}


def counting(seen, fail_at=None):
    def grow(to):
        try:
            for n in range(1, int(to) + 1):
                if n == fail_at:
                    raise ValueError("no <more>")
                seen.append(n)
                yield n / to, n
        finally:
            seen.append("closed")

    return grow


def draw_count(n):
    return draw(n, "counted")


@pytest.fixture
def press(shown, monkeypatch):
    """Watch something, press Start, and after some steps perhaps Stop; what is then to be seen."""
    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)

    async def pressed(grow, stop_after, seen):
        watch(grow, draw_count, COUNT, static=[])
        found = list(walk(shown[0]))
        start, stop = (w for w in found if isinstance(w, ipywidgets.Button))
        view = SimpleNamespace(start=start, stop=stop)
        view.bar = next(w for w in found if isinstance(w, ipywidgets.FloatProgress))
        view.figure = next(w for w in found if type(w) is ipywidgets.HTML)
        assert (start.disabled, stop.disabled) == (False, True)
        start.click()
        while not (seen and seen[-1] == "closed"):
            await asyncio.sleep(0.001)
            if stop_after in seen:
                assert (start.disabled, stop.disabled) == (True, False)
                stop.click()
                stop_after = None
        await asyncio.sleep(0.01)
        assert (start.disabled, stop.disabled) == (False, True)
        return view

    return lambda *settings: asyncio.run(pressed(*settings))


def test_something_long_runs_to_its_end(press):
    seen = []
    view = press(counting(seen), None, seen)
    assert seen == [1, 2, 3, 4, "closed"]
    assert view.bar.value == 1.0
    assert 'alt="counted at 4.0"' in view.figure.value


def test_stop_ends_it_and_keeps_what_is_there(press):
    seen = []
    view = press(counting(seen), 2, seen)
    assert seen == [1, 2, "closed"]
    assert view.bar.value == 0.5
    assert 'alt="counted at 2.0"' in view.figure.value


def test_the_figure_grows_while_it_runs(press, monkeypatch):
    monkeypatch.setattr(widgets, "REDRAW_SECONDS", 0.0)
    seen, drawn = [], []
    monkeypatch.setattr("test_widgets.draw_count", lambda n: drawn.append(n) or draw(n, "counted"))
    press(counting(seen), None, seen)
    assert drawn == [1, 2, 3, 4, 4]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_failure_is_shown_and_start_can_be_pressed_again(press):
    seen = []
    view = press(counting(seen, fail_at=3), None, seen)
    assert 'role="alert"' in view.figure.value
    assert "no &lt;more&gt;" in view.figure.value


def test_without_a_front_end_the_last_figures_are_shown(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: False)
    watch(counting([]), draw_count, COUNT, static=[{"to": 2}, {"to": 3}])
    assert 'alt="counted at 2.0"' in shown[0].data
    assert 'alt="counted at 3.0"' in shown[0].data
    assert "counted at 1.0" not in shown[0].data
