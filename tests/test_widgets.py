"""Controls move figures; where nobody can move them, a few settings are shown."""

import asyncio
import threading
from functools import partial
from types import SimpleNamespace

import ipywidgets
import pytest

from labkit import widgets
from labkit.figures import Figure, new_canvas
from labkit.widgets import (
    Choice,
    Newest,
    Slider,
    Toggles,
    explore,
    front_end_attached,
    in_turn,
    stop_when_run_again,
    watch,
)

CONTROLS = {
    "threshold": Slider("Threshold", 0.5, 0.0, 1.0, 0.1),
    "layer": Choice("Layer", ["first", "last"], "last"),
}


def draw(threshold, layer):
    return drawn(f"{layer} at {threshold:.1f}")


def drawn(text):
    canvas, axes = new_canvas(1.0, 1.0)
    axes[0, 0].set_title(text)
    return Figure(canvas, text)


class Shown(list):
    """What was displayed; `figure` is what stands in the updating output, `figures` all of it."""

    def display(self, output, display_id=False, raw=False):
        self.append(output)
        if display_id:
            self.figures = [output]
            return SimpleNamespace(update=self.figures.append)

    @property
    def figure(self):
        return self.figures[-1]._repr_html_()


@pytest.fixture
def shown(monkeypatch):
    outputs = Shown()
    monkeypatch.setattr(widgets, "display", outputs.display)
    return outputs


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


@pytest.fixture
def live(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    explore(draw, CONTROLS, static=[])
    kinds = (ipywidgets.FloatSlider, ipywidgets.BoundedFloatText, ipywidgets.RadioButtons)
    found = list(walk(shown[0]))
    slider, field, row = (next(w for w in found if isinstance(w, kind)) for kind in kinds)
    return SimpleNamespace(slider=slider, field=field, row=row, shown=shown)


def test_without_a_front_end_some_settings_are_shown(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: False)
    settings = [{"threshold": t, "layer": "first"} for t in (0.1, 0.9)]
    explore(draw, CONTROLS, static=settings)
    (page,) = shown
    assert 'alt="first at 0.1"' in page["text/html"]
    assert 'alt="first at 0.9"' in page["text/html"]
    assert page["text/html"].count("<figure") == 1  # one row
    assert page["text/plain"].startswith("Figure: first at 0.1 first at 0.9\n")


def test_charts_with_several_axes_stay_whole(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: False)

    def draw_two(n):
        return Figure(new_canvas(1.0, 1.0, 1, 2)[0], f"two axes, {n:.0f}")

    explore(draw_two, {"n": Slider("n", 1, 0, 9, 1)}, static=[{"n": 1}, {"n": 2}])
    assert shown[0]["text/html"].count("<figure") == 2


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (1, "One setting. Run this cell to move it yourself."),
        (3, "Three settings. Run this cell to move them yourself."),
        (12, "12 settings. Run this cell to move them yourself."),
    ],
)
def test_under_static_figures_a_line_says_what_to_do(shown, monkeypatch, n, words):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: False)
    explore(draw, CONTROLS, static=[{"threshold": 0.5, "layer": "first"}] * n)
    assert f">{words}</p>" in shown[0]["text/html"]
    assert shown[0]["text/plain"].endswith(f"\n{words}")


def test_the_figure_is_drawn_at_once(live):
    assert 'alt="last at 0.5"' in live.shown.figure


def test_what_stays_in_the_file_is_a_figure_and_a_line(live):
    controls, figure, line = live.shown
    assert repr(controls) == "Controls"
    assert isinstance(figure, Figure)
    assert ">Run this cell to get the controls.</p>" in line.data
    (own,) = (name for name in controls._dom_classes if name != "labkit-controls")
    assert f"body:has(.{own}:not(.jupyter-widgets-disconnected)) .{own}-line" in line.data


def test_slider_and_field_move_the_figure_and_each_other(live):
    live.slider.value = 0.8
    assert live.field.value == 0.8
    assert 'alt="last at 0.8"' in live.shown.figure
    live.field.value = 0.2
    assert live.slider.value == 0.2
    assert 'alt="last at 0.2"' in live.shown.figure
    live.row.value = "first"
    assert 'alt="first at 0.2"' in live.shown.figure


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
    assert live.field.description == "Threshold as a number"
    assert live.row.description == "Layer"


def test_all_controls_begin_in_one_column(live):
    assert live.slider.style.description_width == live.row.style.description_width != "initial"
    assert live.field.style.description_width == "0px"


def test_a_unit_stands_behind_the_number():
    row, _ = Slider("Patch", 8, 1, 9, 1, "pixels").widget()
    assert row.children[-1].value == "pixels"
    assert len(Slider("Patch", 8, 1, 9, 1).widget()[0].children) == 2


def test_many_options_are_in_a_drop_down_that_says_its_keys():
    options = [str(n) for n in range(7)]
    shown, holder = Choice("Layer", options, "3").widget()
    assert isinstance(holder, ipywidgets.Dropdown)
    assert "arrow keys and Enter" in shown.children[1].value
    assert isinstance(Choice("Layer", options[:6], "3").widget()[1], ipywidgets.RadioButtons)


def test_a_failing_figure_says_so_and_raises(shown, monkeypatch):
    def fail(threshold):
        if threshold > 0.6:
            raise ValueError("too <high>")
        return draw(threshold, "last")

    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    explore(fail, {"threshold": CONTROLS["threshold"]}, static=[])
    slider = next(w for w in walk(shown[0]) if isinstance(w, ipywidgets.FloatSlider))
    with pytest.raises(ValueError, match="too <high>"):
        slider.value = 0.9
    assert 'role="alert"' in shown.figure
    assert "ValueError: too &lt;high&gt;" in shown.figure
    assert 'alt="last at 0.5"' in shown.figure  # the one before is still there
    slider.value = 0.3
    assert "alert" not in shown.figure


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
    assert [box.description for box in boxes] == ["left", "right"]
    assert any(isinstance(w, ipywidgets.Label) and w.value == "Superpixels" for w in found)
    assert "(True, False)" in shown.figure
    boxes[1].value = True
    assert "(True, True)" in shown.figure
    boxes[0].value = False
    assert "(False, True)" in shown.figure


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
        view.shown = shown
        assert "Press Start." in shown.figure
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
    assert 'alt="counted at 4.0"' in view.shown.figure


def test_stop_ends_it_and_keeps_what_is_there(press):
    seen = []
    view = press(counting(seen), 2, seen)
    assert seen == [1, 2, "closed"]
    assert view.bar.value == 0.5
    assert 'alt="counted at 2.0"' in view.shown.figure


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
    assert 'role="alert"' in view.shown.figure
    assert "no &lt;more&gt;" in view.shown.figure


def test_without_a_front_end_the_last_figures_are_shown(shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: False)
    watch(counting([]), draw_count, COUNT, static=[{"to": 2}, {"to": 3}])
    page = shown[0]["text/html"]
    assert 'alt="counted at 2.0"' in page
    assert 'alt="counted at 3.0"' in page
    assert "counted at 1.0" not in page
    assert "Two settings." in page


# In a kernel


def test_of_values_that_come_together_the_newest_is_drawn():
    values, drawn = [], []

    async def several():
        newest = Newest(lambda: drawn.append(values[-1]))
        for value in (1, 2, 3):
            values.append(value)
            newest.ask(None)
        assert drawn == []
        await asyncio.sleep(5 * widgets.SETTLE_SECONDS)
        values.append(4)
        newest.ask(None)
        await asyncio.sleep(5 * widgets.SETTLE_SECONDS)
        newest.ask(None)
        newest.close()
        await asyncio.sleep(5 * widgets.SETTLE_SECONDS)

    asyncio.run(several())
    assert drawn == [3, 4]


def test_a_handler_that_another_thread_calls_runs_in_the_thread_of_the_cells():
    """As JupyterLab 4.6 calls it with ipykernel 7."""
    called = []

    async def cell():
        handler = in_turn(lambda event: called.append((event, threading.current_thread())))
        await asyncio.to_thread(handler, "moved")
        await asyncio.sleep(0)

    asyncio.run(cell())
    assert called == [("moved", threading.main_thread())]


def test_without_a_kernel_a_handler_runs_at_once():
    called = []
    in_turn(called.append)("moved")
    assert called == ["moved"]


@pytest.fixture
def cell(monkeypatch):
    """Run something as this cell, and as the message with this name."""
    monkeypatch.setattr(widgets, "_running", {})

    def run(metadata, message, work):
        request = {"metadata": metadata, "header": {"msg_id": message}, "content": {}}
        monkeypatch.setattr(widgets, "_request", lambda: request)
        work()

    return run


def test_a_cell_that_is_run_again_stops_what_it_left(cell):
    stopped = []

    def started(what):
        return lambda: stop_when_run_again("draw", lambda: stopped.append(what))

    cell({"cellId": "a"}, "1", started("first"))
    cell({"cellId": "a"}, "1", started("second, of the same run"))
    cell({"cellId": "b"}, "2", started("another cell's"))
    assert stopped == []
    cell({"cellId": "a"}, "3", started("third"))
    assert stopped == ["first", "second, of the same run"]
    cell({}, "4", started("of an unknown cell"))
    cell({}, "5", started("of the same by its name"))
    assert stopped[2:] == ["of an unknown cell"]


def test_a_figure_of_an_earlier_run_is_drawn_no_more(cell, shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    run = partial(explore, draw, CONTROLS, static=[])
    cell({"cellId": "a"}, "1", run)
    earlier, slider = (
        shown.figures,
        next(w for w in walk(shown[0]) if isinstance(w, ipywidgets.FloatSlider)),
    )
    cell({"cellId": "a"}, "2", run)
    slider.value = 0.9
    assert len(earlier) == 1


def test_something_long_ends_when_its_cell_is_run_again(cell, shown, monkeypatch):
    monkeypatch.setattr(widgets, "front_end_attached", lambda: True)
    seen = []

    async def twice():
        run = partial(watch, counting(seen), draw_count, COUNT, static=[])
        cell({"cellId": "a"}, "1", run)
        next(w for w in walk(shown[0]) if isinstance(w, ipywidgets.Button)).click()
        while 2 not in seen:
            await asyncio.sleep(0.001)
        cell({"cellId": "a"}, "2", run)
        await asyncio.sleep(0.1)

    asyncio.run(twice())
    assert seen == [1, 2, "closed"]
