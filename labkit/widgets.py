"""Controls that move a figure: the only module that uses ipywidgets (core widgets, 7 and 8)."""

from __future__ import annotations

import html
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ipywidgets
from IPython import get_ipython
from IPython.display import HTML, display

from labkit.figures import Figure


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
        wide = {"description_width": "initial"}
        bounds = {"value": self.value, "min": self.minimum, "max": self.maximum, "step": self.step}
        slider = ipywidgets.FloatSlider(
            **bounds,
            description=self.label,
            continuous_update=False,  # a figure costs more than 50 ms
            readout=False,
            style=wide,
            layout={"width": "420px"},
        )
        field = ipywidgets.BoundedFloatText(
            **bounds,
            description=f"{self.label} (number)",
            style=wide,
            layout={"width": "240px"},
        )
        ipywidgets.link((slider, "value"), (field, "value"))
        return ipywidgets.HBox([slider, field], layout={"flex_flow": "row wrap"}), slider


@dataclass(frozen=True)
class Choice:
    """One of several named options, from a drop-down."""

    label: str
    options: Sequence[str]
    value: str

    def widget(self) -> tuple[ipywidgets.Widget, ipywidgets.Widget]:
        """What is shown, and what holds the value."""
        dropdown = ipywidgets.Dropdown(
            options=list(self.options),
            value=self.value,
            description=self.label,
            style={"description_width": "initial"},
        )
        return dropdown, dropdown


def front_end_attached() -> bool:
    """Whether a person sits at the other end: nbconvert, nbval and papermill take no input."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    request = kernel.get_parent("shell")
    return bool(request.get("content", {}).get("allow_stdin", False))


def explore(
    draw: Callable[..., Figure],
    controls: Mapping[str, Slider | Choice],
    *,
    static: Sequence[Mapping[str, float | str]],
) -> None:
    """Show a figure with the controls that move it.

    Where no front end is attached (GitHub, nbconvert) a few settings are shown instead.

    Args:
        draw: gets one value per control, by name; returns the figure.
        controls: a Slider or a Choice for each argument of `draw`.
        static: the settings to show where nobody can move a control.
    """
    if not front_end_attached():
        display(HTML("\n".join(draw(**settings).html for settings in static)))
        return
    shown, holders = zip(*(control.widget() for control in controls.values()), strict=True)
    figure = ipywidgets.HTML()

    def redraw(change: object = None) -> None:
        values = {name: holder.value for name, holder in zip(controls, holders, strict=True)}
        try:
            figure.value = draw(**values).html
        except Exception:
            # A callback's traceback would end in a log that nobody reads.
            figure.value = f'<pre role="alert">{html.escape(traceback.format_exc())}</pre>'
            raise

    for holder in holders:
        holder.observe(redraw, names="value")
    redraw()
    display(ipywidgets.VBox([*shown, figure]))
