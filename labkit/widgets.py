"""Controls that move a figure, in core ipywidgets, 7 and 8.

The figure is an ordinary output below the controls, so that the last one stays in the saved file. A
line after it says how to get the controls back; who has them does not see it. This and
`labkit.dashboard`, which is built of them, are the only modules that use ipywidgets.
"""

from __future__ import annotations

import asyncio
import html
import time
import traceback
import uuid
from collections import deque
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import ipywidgets
from IPython import get_ipython
from IPython.display import HTML, display

from labkit.figures import Figure, beside
from labkit.figures.panels import Chart

State = TypeVar("State")
Step = TypeVar("Step")
Event = TypeVar("Event")
IN_COLUMN = {"description_width": "12em"}  # all labels are as wide, so all controls start there
UNSEEN = {"description_width": "0px"}  # the label only names the field, for those who hear it
ROW = {"flex_flow": "row wrap", "align_items": "center"}
FEW = 6  # options that stand side by side; more of them are in a drop-down
KEYS = "Space opens the list, arrow keys and Enter choose."
REDRAW_SECONDS = 1.0  # a figure costs time that the work behind it would have
PAUSE_SECONDS = 0.01  # between two steps; the kernel takes clicks meanwhile
SETTLE_SECONDS = 0.01  # in which values that wait for the kernel arrive before a figure is drawn
LINE = "Run this cell to get the controls."
NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
QUIET = "margin:0.25em 0;opacity:0.75"  # grey, on any ground
RED = "border:2px solid #b00020;border-radius:4px;background:#fdecee;color:#5f0010;padding:6px 10px"
FRAME = (
    "border:1px dashed #888;border-radius:4px;max-width:26em;height:9em;display:flex;"
    "align-items:center;justify-content:center;margin:0.5em 0"
)
STYLE = """<style>
.labkit-controls .widget-label { text-align: left; }
.labkit-controls .widget-dropdown > .widget-label, .labkit-choice > .widget-label,
.labkit-controls .widget-hslider > .widget-label {
  white-space: normal; line-height: 1.2; height: auto; flex-shrink: 0;
}
.labkit-choice {
  display: flex; flex-direction: row; align-items: center; width: auto; height: auto;
}
.labkit-choice .widget-radio-box {
  display: flex; flex-flow: row wrap; gap: 4px; width: auto; height: auto; margin: 0; padding: 2px;
}
.labkit-choice .widget-radio-box label {
  position: relative; width: auto; height: auto; margin: 0; padding: 2px 10px; cursor: pointer;
  line-height: 1.5; border: 1px solid #888; border-radius: 3px;
}
.labkit-choice .widget-radio-box input { position: absolute; opacity: 0; margin: 0; }
.labkit-choice label:has(input:checked) { background: #0060a0; color: #fff; }
.labkit-choice label:has(input:focus-visible) { outline: 2px solid #e69f00; outline-offset: 1px; }
</style>"""
# What core ipywidgets leaves out: a slider's handle has no name, radio buttons are no group, in
# which arrow keys move, JupyterLab takes the arrow keys, and no file can be dropped on a button.
SCRIPT = """<script>(() => {
  if (window.labkitControls) return;
  window.labkitControls = 1;
  const all = (where, selector) => [...where.querySelectorAll(selector)];
  const complete = () => {
    for (const row of all(document, ".labkit-slider")) {
      const handle = row.querySelector(".noUi-handle, .ui-slider-handle");
      handle?.setAttribute("aria-label", row.querySelector(".widget-label").textContent);
    }
    for (const row of all(document, ".labkit-choice")) {
      const buttons = all(row, "input:not([name])");
      const name = buttons.length && `labkit-choice-${window.labkitControls++}`;
      buttons.forEach(button => button.setAttribute("name", name));
      const group = row.querySelector(".widget-radio-box");
      group?.setAttribute("role", "radiogroup");
      group?.setAttribute("aria-label", row.querySelector(".widget-label").textContent);
    }
  };
  new MutationObserver(complete).observe(document.body, {childList: true, subtree: true});
  complete();
  const mine = ".labkit-controls input[type=radio], .labkit-controls select";
  window.addEventListener("keydown", event => {
    if (!event.target.matches?.(mine)) return;
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", plain);
  }, true);
  const upload = event => event.target.closest?.(".labkit-upload");
  window.addEventListener("dragover", event => upload(event) && event.preventDefault(), true);
  window.addEventListener("drop", event => {
    if (!upload(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const files = event.dataTransfer.files, click = HTMLInputElement.prototype.click;
    HTMLInputElement.prototype.click = function () {
      this.files = files;
      this.dispatchEvent(new Event("change"));
    };
    try { upload(event).click(); } finally { HTMLInputElement.prototype.click = click; }
  }, true);
})()</script>"""


class Drawn(Protocol):
    """What can stand below the controls: a figure, or the frame for one."""

    @property
    def html(self) -> str:
        """As HTML."""


@dataclass(frozen=True)
class Slider:
    """A number between two ends, moved by slider, arrow keys, or typed into a field."""

    label: str
    value: float
    minimum: float
    maximum: float
    step: float
    unit: str = ""  # behind the number

    def widget(self) -> tuple[ipywidgets.Widget, ipywidgets.Widget]:
        """What is shown, and what holds the value."""
        bounds = {"value": self.value, "min": self.minimum, "max": self.maximum, "step": self.step}
        slider = ipywidgets.FloatSlider(
            **bounds,
            description=self.label,
            continuous_update=False,  # some figures take a second
            readout=False,
            style=IN_COLUMN,
            layout={"width": "30em", "max_width": "100%"},
        )
        field = ipywidgets.BoundedFloatText(
            **bounds,
            description=f"{self.label} as a number",
            style=UNSEEN,
            layout={"width": "8em"},
        )
        ipywidgets.link((slider, "value"), (field, "value"), transform=(_rounded, float))
        unit = [ipywidgets.Label(self.unit)] if self.unit else []
        row = ipywidgets.HBox([slider, field, *unit], layout=ROW)
        row.add_class("labkit-slider")
        return row, field


@dataclass(frozen=True)
class Choice:
    """One of several named options: a few side by side, many in a drop-down."""

    label: str
    options: Sequence[str]
    value: str

    def widget(self) -> tuple[ipywidgets.Widget, ipywidgets.Widget]:
        """What is shown, and what holds the value."""
        named = {"options": list(self.options), "value": self.value, "description": self.label}
        if len(self.options) > FEW:
            dropdown = ipywidgets.Dropdown(**named, style=IN_COLUMN)
            return with_keys(dropdown), dropdown
        row = ipywidgets.RadioButtons(**named, style=IN_COLUMN)  # ToggleButtons take no arrow keys
        row.add_class("labkit-choice")
        return row, row


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
        label = ipywidgets.Label(self.label, layout={"width": IN_COLUMN["description_width"]})
        return ipywidgets.HBox([label, row], layout={"align_items": "baseline"}), _Boxes(boxes)


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


def with_keys(dropdown: ipywidgets.Dropdown) -> ipywidgets.Widget:
    """The drop-down, and which keys work in it."""
    dropdown.layout.width, dropdown.layout.max_width = "30em", "100%"
    return ipywidgets.HBox([dropdown, ipywidgets.Label(KEYS)], layout=ROW)


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


class _Box(ipywidgets.VBox):
    """Widgets below each other; in words, what a page shows that has no widgets."""

    def __repr__(self) -> str:
        return "Controls"


class LastFigure:
    """Widgets, and below them the last figure as an ordinary output, which stays in the file."""

    def __init__(self, widgets: Sequence[ipywidgets.Widget], first: Drawn) -> None:
        """Display them, and the line for those who find the page without its widgets."""
        own = f"labkit-{uuid.uuid4().hex[:8]}"
        style = ipywidgets.HTML(STYLE, layout={"display": "none"})
        box = _Box([style, *widgets])
        for name in ("labkit-controls", own):
            box.add_class(name)
        display(box)
        self._last = first
        self._handle = display(first, display_id=True)
        display(HTML(_line_without(own)))

    def show(self, drawn: Drawn) -> None:
        """Put another figure in its place."""
        self._last = drawn
        self._handle.update(drawn)

    @contextmanager
    def loudly(self) -> Iterator[None]:
        """Say an error above the figure: a callback's traceback ends in a log nobody reads."""
        try:
            yield
        except Exception as error:
            said = html.escape(f"{type(error).__name__}: {error}")
            where = html.escape(traceback.format_exc())
            self._handle.update(
                HTML(
                    f'<div role="alert" style="{RED}">{said}<br>Below is what was shown before.'
                    f"<details><summary>Where it happened</summary><pre>{where}</pre></details>"
                    f"</div>{self._last.html}"
                )
            )
            raise


def _line_without(controls: str) -> str:
    """The line that says how to get the controls, unseen where they are there and connected.

    In JupyterLab it stands for "Error displaying widget: model not found".
    """
    there = f"body:has(.{controls}:not(.jupyter-widgets-disconnected))"
    error = f".jp-OutputArea:has(.{controls}-line) > * > .jp-OutputArea-output.jupyter-widgets"
    style = f"<style>{there} .{controls}-line, {error} {{ display: none; }}</style>"
    return f'{style}<p class="{controls}-line" style="{QUIET}">{LINE}</p>{SCRIPT}'


def in_turn(handler: Callable[[Event], None]) -> Callable[[Event], None]:
    """Let a widget's handler take turns with the cells, in the thread that runs them.

    JupyterLab 4.6 and ipykernel 7 call the first handler from that thread and the later ones from
    another; two at once would hook the same network, and the older figure could come last.

    Args:
        handler: is called in a cell's loop where this is called in one; at once without a kernel.
    """
    loop = _loop()
    if loop is None:
        return handler

    def wait_for_turn(event: Event) -> None:
        loop.call_soon_threadsafe(handler, event)

    return wait_for_turn


def _loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs the cells, asked for by one of them; None without a kernel."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Newest:
    """Draws after changes: never two at once, and the newest values last."""

    def __init__(self, draw: Callable[[], None]) -> None:
        self._draw, self._waiting, self._closed = draw, False, False
        self.ask = in_turn(self._ask)

    def close(self) -> None:
        """Draw no more."""
        self._closed = True

    def _ask(self, change: object) -> None:
        """Draw soon; what is asked for until then is drawn along with it."""
        if self._waiting:
            return
        loop = _loop()
        if loop is None:
            self._do()
            return
        self._waiting = True
        loop.call_later(SETTLE_SECONDS, self._do)

    def _do(self) -> None:
        self._waiting = False
        if not self._closed:
            self._draw()


_running: dict[str, tuple[str, list[Callable[[], None]]]] = {}  # by cell: its run, and how to stop


def stop_when_run_again(name: str, stop: Callable[[], None]) -> None:
    """End what the last run of this cell has left, and remember how to end this one.

    Args:
        name: stands for the cell where the front end does not say which one it is.
        stop: is called when the cell is run again.
    """
    request = _request()
    cell = request.get("metadata", {}).get("cellId", name)
    run = request.get("header", {}).get("msg_id", uuid.uuid4().hex)
    before, stops = _running.get(cell, (run, []))
    if before != run:
        for earlier in stops:
            earlier()
        stops = []
    _running[cell] = (run, [*stops, stop])


def _request() -> dict:
    """The message that made the kernel run this cell; empty without a kernel."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel.get_parent("shell") if kernel else {}


def front_end_attached() -> bool:
    """Whether a person sits at the other end: nbconvert, nbval and papermill take no input."""
    return bool(_request().get("content", {}).get("allow_stdin", False))


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
        show_settings([draw(**settings) for settings in static])
        return
    made = Controls(controls)
    figure = LastFigure(made.shown, draw(**made.values()))

    def redraw() -> None:
        with figure.loudly():
            figure.show(draw(**made.values()))

    newest = Newest(redraw)
    made.observe(newest.ask)
    stop_when_run_again(_name(draw), newest.close)


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
        show_settings([draw(state) for _, state in ends])
        return
    made, buttons = Controls(controls), Buttons("Start")
    figure = LastFigure([*made.shown, buttons.row], Frame("Press Start."))

    async def run() -> None:
        drawn = time.monotonic()
        with figure.loudly(), closing(grow(**made.values())) as steps:
            async for done, state in buttons.served(steps):
                buttons.bar.value = done
                if time.monotonic() - drawn > REDRAW_SECONDS:
                    figure.show(draw(state))
                    drawn = time.monotonic()
            figure.show(draw(state))

    buttons.start_with(run)
    stop_when_run_again(_name(draw), buttons.press_stop)


def show_settings(figures: Sequence[Figure]) -> None:
    """Show the figures of some settings, and how to see others."""
    n = len(figures)
    number = NUMBERS[n] if n < len(NUMBERS) else str(n)
    settings, them = ("setting", "it") if n == 1 else ("settings", "them")
    show_static(figures, f"{number} {settings}. Run this cell to move {them} yourself.")


def show_static(figures: Sequence[Figure], line: str) -> None:
    """Show figures in one row where nobody can move a control, and a line below them.

    What repeats in them, such as the picture, is drawn once; charts that have several axes stay
    whole.
    """
    charts = [panel for figure in figures for panel in figure.panels if isinstance(panel, Chart)]
    if all(len(chart.canvas.axes) == 1 for chart in charts):
        figures = [beside(figures)]
    row = "\n".join(figure.html for figure in figures)
    words = "\n".join([*map(repr, figures), line])
    display({"text/html": f'{row}<p style="{QUIET}">{line}</p>', "text/plain": words}, raw=True)


@dataclass(frozen=True)
class Frame:
    """What stands in a figure's place before there is one."""

    text: str

    @property
    def html(self) -> str:
        """A box around the text."""
        return f'<div style="{FRAME}">{html.escape(self.text)}</div>'

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


class Buttons:
    """Start, Stop, and a bar; what they start takes turns with all else that the kernel does."""

    def __init__(self, start: str) -> None:
        """Make the widgets.

        Args:
            start: what is on the button that starts.
        """
        self.start = ipywidgets.Button(description=start, button_style="primary")
        self.stop = ipywidgets.Button(description="Stop", disabled=True)
        self.bar = ipywidgets.FloatProgress(description="Done", min=0.0, max=1.0)
        self.row = ipywidgets.HBox([self.start, self.stop, self.bar], layout=ROW)
        self.stop.on_click(lambda button: self.press_stop())

    def press_stop(self) -> None:
        """Let what runs end after its step."""
        self.stop.disabled = True

    def start_with(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Let the first button start this."""

        async def run() -> None:
            self.start.disabled, self.stop.disabled = True, False
            try:
                await work()
            finally:
                self.start.disabled, self.stop.disabled = False, True

        def press(button: ipywidgets.Button) -> None:
            self._task = asyncio.get_running_loop().create_task(run())  # the loop keeps none alive

        self.start.on_click(in_turn(press))

    async def served(self, steps: Iterable[Step]) -> AsyncIterator[Step]:
        """The steps until Stop is pressed; between two the kernel does what else there is."""
        for step in steps:
            yield step
            await asyncio.sleep(PAUSE_SECONDS)
            if self.stop.disabled:
                return


def _name(draw: Callable[..., object]) -> str:
    """Where a function was written, and its name; the same when its cell is run again."""
    code = getattr(draw, "__code__", None)
    return f"{code.co_filename} {code.co_name}" if code else type(draw).__name__


def _rounded(value: float) -> float:
    """Without the error of steps added up: a browser's slider says 219.99999999999997 for 220."""
    return float(f"{value:.10g}")
