"""Lab 8's dashboard: a picture of your own, any method, side by side (core ipywidgets, 7 and 8)."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import ipywidgets

from labkit.figures import OVERLAY_STRENGTH, Figure
from labkit.methods import MAPS, REGISTRY, Options
from labkit.models import Classifier, Picture, feature_layers, last_maps
from labkit.widgets import (
    IN_COLUMN,
    LINE,
    RED,
    ROW,
    Buttons,
    Choice,
    Controls,
    LastFigure,
    Newest,
    Slider,
    front_end_attached,
    in_turn,
    show_static,
    stop_when_run_again,
    with_keys,
)
from labkit.workbench import Workbench


def uploaded(value: object) -> tuple[str, bytes] | None:
    """Name and content of the last file in a FileUpload's value, of ipywidgets 7 or 8."""
    files = list(value.values()) if isinstance(value, Mapping) else list(value)
    if not files:
        return None
    name = files[-1].get("name") or files[-1]["metadata"]["name"]
    return name, bytes(files[-1]["content"])


def dashboard(model: Classifier, picture: Picture, *, name: str = "") -> Workbench:
    """Explain a picture by any method, from a panel of controls.

    Where no front end is attached, Grad-CAM or, for a network without feature maps, the squared
    gradient is shown.

    Args:
        model: from `load_model`, or a network of your own in a `Classifier`.
        picture: to begin with.
        name: what to call it.

    Returns:
        The workbench behind the panel; its `explanations` can be used in further cells.
    """
    bench = Workbench(model)
    bench.open(picture, name)
    if front_end_attached():
        stop_when_run_again("dashboard", _Panel(bench).buttons.press_stop)
        return bench
    bench.run("gradcam" if _layers(model) else "sensitivity")
    show_static([bench.figure()], LINE)
    return bench


def _layers(model: Classifier) -> list[str]:
    """The layers that Grad-CAM and FEM may read; none for a network without feature maps."""
    try:
        return list(dict.fromkeys([*feature_layers(model), last_maps(model)]))
    except ValueError:
        return []


def _settings(method: str, layers: list[str], usual: str) -> Controls:
    """The controls of one method."""
    record = REGISTRY[method]
    controls = {
        name: Choice(*setting) if isinstance(setting, Options) else Slider(*setting)
        for name, setting in record.settings.items()
    }
    if record.needs == MAPS and layers:
        controls = {"layer": Choice("Layer", layers, usual), **controls}
    return Controls(controls)


def _text(description: str, **more: object) -> ipywidgets.Text:
    wide = {"width": "30em", "max_width": "100%"}
    return ipywidgets.Text(description=description, style=IN_COLUMN, layout=wide, **more)


class _Panel:
    """The controls, and what they do."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.layers = _layers(bench.model)
        self.upload = ipywidgets.FileUpload(
            accept="image/*",
            description="Upload a picture, or drop it here",
            layout={"width": "auto"},
        )
        self.upload.add_class("labkit-upload")
        self.path = _text("or its path", placeholder="my photo.jpg", continuous_update=False)
        self.open = ipywidgets.Button(description="Open")
        self.target = ipywidgets.Dropdown(description="Class", style=IN_COLUMN)
        methods = [(method.title, name) for name, method in REGISTRY.items()]
        self.method = ipywidgets.Dropdown(description="Method", options=methods, style=IN_COLUMN)
        self.settings_box = ipywidgets.VBox()
        self.cost = ipywidgets.HTML()
        self.buttons = Buttons("Explain")
        self.clear = ipywidgets.Button(description="Clear")
        strength = Slider("Overlay strength", OVERLAY_STRENGTH, 0.0, 1.0, 0.05)
        self.strength, self.strength_value = strength.widget()
        self.message = ipywidgets.HTML()
        self.file = _text("File", value="report.html")
        self.save = ipywidgets.Button(description="Save report")
        self.save_figure = ipywidgets.Button(description="Save figure")
        self.figure = LastFigure(self._rows(), self._drawn())
        self._connect()
        self._opened()

    def _rows(self) -> list[ipywidgets.Widget]:
        """All of it, from top to bottom."""
        return [
            ipywidgets.HBox([self.upload, self.path, self.open], layout=ROW),
            with_keys(self.target),
            with_keys(self.method),
            self.settings_box,
            ipywidgets.HBox([self.buttons.row, self.clear, self.cost], layout=ROW),
            self.strength,
            ipywidgets.HBox([self.file, self.save, self.save_figure], layout=ROW),
            self.message,
        ]

    def _connect(self) -> None:
        """Let each control do its work."""
        self.upload.observe(self._quietly(self._open_upload), names="value")
        self.open.on_click(self._quietly(self._open_path))
        self.method.observe(self._quietly(self._show_settings), names="value")
        self.buttons.start_with(self._run)
        self.clear.on_click(self._quietly(self._clear))
        redraw = Newest(lambda: self._quietly(self._draw)(None))
        self.strength_value.observe(redraw.ask, names="value")
        self.save.on_click(self._quietly(self._save))
        self.save_figure.on_click(self._quietly(self._save_picture))

    def _quietly(self, work: Callable[[], None]) -> Callable[[object], None]:
        """Do the work in turn, and say what went wrong where the reader looks, not in a log."""

        def handler(event: object) -> None:
            with self._errors_said():
                if not self.buttons.start.disabled:  # or it says what is at work
                    self._say("")
                work()

        return in_turn(handler)

    @contextmanager
    def _errors_said(self) -> Iterator[None]:
        """Say what went wrong in a red box, in words, and what can still be seen."""
        try:
            yield
        except Exception as error:
            reason = str(error).partition("\n")[0] or "It did not work, and gave no reason"
            below = f"Below is still {self.bench.name}, with what was explained before."
            text = f"{html.escape(reason)}.<br>{html.escape(below)}"
            self.message.value = f'<div role="alert" style="{RED}">{text}</div>'

    def _say(self, text: str) -> None:
        self.message.value = f'<p role="status">{html.escape(text)}</p>' if text else ""

    def _open_upload(self) -> None:
        if (file := uploaded(self.upload.value)) is not None:
            name, content = file
            self.bench.open(content, name)
            self._opened()

    def _open_path(self) -> None:
        self.bench.open(self.path.value.strip())
        self._opened()

    def _opened(self) -> None:
        self.buttons.press_stop()
        classes = self.bench.classes()
        self.target.options = classes
        self.target.value = classes[0][1]
        self.file.value = f"{Path(self.bench.name).stem} explained.html"
        self._show_settings()
        self._draw()

    def _show_settings(self) -> None:
        usual = last_maps(self.bench.model) if self.layers else ""
        self.settings = _settings(self.method.value, self.layers, usual)
        self.settings_box.children = self.settings.shown
        self.settings.observe(self._quietly(self._show_cost))
        self._show_cost()

    def _show_cost(self) -> None:
        cost = self.bench.cost(self.method.value, **self.settings.values())
        self.cost.value = html.escape(f"{cost} on this machine")

    async def _run(self) -> None:
        title, bar = self.method.label, self.buttons.bar
        kept, bar.value = self.bench.explanations, 0.0
        last = kept[-1] if kept else None
        self._say(f"at work: {title}")
        with self._errors_said():
            asked = (self.method.value, self.target.value)
            with closing(self.bench.run_in_steps(*asked, **self.settings.values())) as steps:
                async for share in self.buttons.served(steps):
                    bar.value = share
            if not kept or kept[-1] is last:
                self._say(f"stopped: {title}; below is what was explained before")
                return
            bar.value = 1.0
            self._draw()
            self._say(f"{kept[-1].title} took {kept[-1].seconds:.1f} s")

    def _clear(self) -> None:
        self.bench.explanations.clear()
        self._draw()

    def _drawn(self) -> Figure:
        return self.bench.figure(strength=self.strength_value.value)

    def _draw(self) -> None:
        self.figure.show(self._drawn())

    def _save(self) -> None:
        path = self.bench.report(self.file.value.strip(), strength=self.strength_value.value)
        self._say(f"saved {path.resolve()}")

    def _save_picture(self) -> None:
        path = Path(self.file.value.strip()).with_suffix(".png").resolve()
        self._drawn().save(path)
        self._say(f"saved {path}")
