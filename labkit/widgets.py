"""Controls that move a figure, in core ipywidgets, 7 and 8.

This and `labkit.dashboard`, which is built of them, are the only modules that use ipywidgets.
"""

from __future__ import annotations

import asyncio
import html
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import ipywidgets
from IPython import get_ipython
from IPython.display import HTML, display

from labkit.figures import Figure

State = TypeVar("State")
WIDE = {"description_width": "initial"}  # as wide as its words
REDRAW_SECONDS = 1.0  # a figure costs time that the work behind it would have


@dataclass(frozen=True)
class Slider:
    """A number between two ends, moved by slider, arrow keys, or typed into a field."""

    label: str
    value: float
    minimum: float
    maximum: float
    step: float

    def widget(self) -> tuple[ipywidgets.Widget, ipywidgets.Widget]:
        """What is shown, and what holds the value."""
        bounds = {"value": self.value, "min": self.minimum, "max": self.maximum, "step": self.step}
        slider = ipywidgets.FloatSlider(
            **bounds,
            description=self.label,
            continuous_update=False,  # a figure costs more than 50 ms
            readout=False,
            style=WIDE,
            layout={"width": "420px"},
        )
        field = ipywidgets.BoundedFloatText(
            **bounds, description=f"{self.label} (number)", style=WIDE, layout={"width": "240px"}
        )
        ipywidgets.link((slider, "value"), (field, "value"), transform=(_rounded, float))
        return ipywidgets.HBox([slider, field], layout={"flex_flow": "row wrap"}), field


@dataclass(frozen=True)
class Choice:
    """One of several named options, from a drop-down."""

    label: str
    options: Sequence[str]
    value: str

    def widget(self) -> tuple[ipywidgets.Widget, ipywidgets.Widget]:
        """What is shown, and what holds the value."""
        dropdown = ipywidgets.Dropdown(
            options=list(self.options), value=self.value, description=self.label, style=WIDE
        )
        return dropdown, dropdown


@dataclass(frozen=True)
class Toggles:
    """Several things, each switched on or off by a checkbox; the value is a tuple of bools."""

    label: str
    options: Sequence[str]
    value: Sequence[bool]

    def widget(self) -> tuple[ipywidgets.Widget, _Boxes]:
        """What is shown, and what holds the value."""
        boxes = [
            ipywidgets.Checkbox(value=on, description=name, indent=False, layout={"width": "auto"})
            for name, on in zip(self.options, self.value, strict=True)
        ]
        row = ipywidgets.HBox(boxes, layout={"flex_flow": "row wrap", "grid_gap": "0 12px"})
        return ipywidgets.VBox([ipywidgets.Label(self.label), row]), _Boxes(boxes)


@dataclass(frozen=True)
class _Boxes:
    """Some checkboxes, read and watched like one widget."""

    boxes: Sequence[ipywidgets.Checkbox]

    @property
    def value(self) -> tuple[bool, ...]:
        return tuple(box.value for box in self.boxes)

    def observe(self, handler: Callable[[object], None], names: str) -> None:
        for box in self.boxes:
            box.observe(handler, names=names)


class Controls:
    """Some controls by name: the widgets to show, and those that hold the values."""

    def __init__(self, controls: Mapping[str, Slider | Choice | Toggles]) -> None:
        self._controls = controls
        made = {name: control.widget() for name, control in controls.items()}
        self.shown = [shown for shown, _ in made.values()]
        self.holders = {name: holder for name, (_, holder) in made.items()}

    def values(self) -> dict[str, object]:
        """What is set, by name; from a slider that starts at a whole number, a whole number."""
        values = {name: holder.value for name, holder in self.holders.items()}
        whole = {name for name, c in self._controls.items() if isinstance(c.value, int)}
        return {name: round(value) if name in whole else value for name, value in values.items()}

    def observe(self, handler: Callable[[object], None]) -> None:
        """Call the handler when a value changes."""
        for holder in self.holders.values():
            holder.observe(handler, names="value")


def front_end_attached() -> bool:
    """Whether a person sits at the other end: nbconvert, nbval and papermill take no input."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    request = kernel.get_parent("shell")
    return bool(request.get("content", {}).get("allow_stdin", False))


def explore(
    draw: Callable[..., Figure],
    controls: Mapping[str, Slider | Choice | Toggles],
    *,
    static: Sequence[Mapping[str, object]],
) -> None:
    """Show a figure with the controls that move it.

    Where no front end is attached (GitHub, nbconvert) a few settings are shown instead.

    Args:
        draw: gets one value per control, by name; returns the figure.
        controls: a control for each argument of `draw`.
        static: the settings to show where nobody can move a control.
    """
    if not front_end_attached():
        display(HTML("\n".join(draw(**settings).html for settings in static)))
        return
    made = Controls(controls)
    figure = ipywidgets.HTML()

    def redraw(change: object = None) -> None:
        with _loudly(figure):
            figure.value = draw(**made.values()).html

    made.observe(redraw)
    redraw()
    display(ipywidgets.VBox([*made.shown, figure]))


def watch(
    grow: Callable[..., Generator[tuple[float, State]]],
    draw: Callable[[State], Figure],
    controls: Mapping[str, Slider | Choice | Toggles],
    *,
    static: Sequence[Mapping[str, object]],
) -> None:
    """Start something long, see its figure grow, and stop it when it has shown enough.

    Other cells, and the buttons, are served between two steps. Where no front end is attached the
    last figures of a few settings are shown instead.

    Args:
        grow: gets one value per control, by name; a generator of (share done, what to draw).
        draw: of what `grow` gave last; called about once a second.
        controls: a control for each argument of `grow`.
        static: the settings to show where nobody can press a button.
    """
    if not front_end_attached():
        ends = [deque(grow(**settings), maxlen=1)[0] for settings in static]
        display(HTML("\n".join(draw(state).html for _, state in ends)))
        return
    made = Controls(controls)
    start = ipywidgets.Button(description="Start")
    stop = ipywidgets.Button(description="Stop", disabled=True)
    bar = ipywidgets.FloatProgress(description="Done", min=0.0, max=1.0)
    figure = ipywidgets.HTML()

    async def run() -> None:
        start.disabled, stop.disabled, drawn = True, False, time.monotonic()
        try:
            with _loudly(figure), closing(grow(**made.values())) as steps:
                for done, state in steps:
                    bar.value = done
                    if time.monotonic() - drawn > REDRAW_SECONDS:
                        figure.value, drawn = draw(state).html, time.monotonic()
                    await asyncio.sleep(0.01)  # the kernel takes clicks meanwhile
                    if stop.disabled:
                        break
                figure.value = draw(state).html
        finally:
            start.disabled, stop.disabled = False, True

    def press_stop(button: ipywidgets.Button) -> None:
        stop.disabled = True

    tasks = []  # the loop itself keeps no task alive
    start.on_click(lambda button: tasks.append(asyncio.get_running_loop().create_task(run())))
    stop.on_click(press_stop)
    display(ipywidgets.VBox([*made.shown, ipywidgets.HBox([start, stop, bar]), figure]))


def _rounded(value: float) -> float:
    """Without the error of steps added up: a browser's slider says 219.99999999999997 for 220."""
    return float(f"{value:.10g}")


@contextmanager
def _loudly(figure: ipywidgets.HTML) -> Iterator[None]:
    """Show an error in the figure's place: a callback's traceback ends in a log nobody reads."""
    try:
        yield
    except Exception:
        figure.value = f'<pre role="alert">{html.escape(traceback.format_exc())}</pre>'
        raise
