"""From a key on a slider to the picture that it asks for, in JupyterLab under Chromium.

The clock is the page's own: from the key to the new picture, decoded. The redraw is what the kernel
does of it, by its clock: the method on the embedded network and the figure's HTML.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page

from benchmarks import timing
from benchmarks.jupyterlab import chromium, opened, server, write_notebook
from benchmarks.timing import Measurement, Promise

KEYS = 20
LIMIT = "the limit, 250 ms"
LABEL = "Standard deviations k"
CELLS = {
    "imports": """import time

from labkit.data import load_leaves
from labkit.explain import fem
from labkit.figures import heatmaps
from labkit.models import last_maps, load_model
from labkit.widgets import Slider, explore

model = load_model("minivgg")
image = model.prepare(load_leaves()[1].pictures[60])
layer = last_maps(model)""",
    "controls": f"""class Timed:
    def __init__(self, html, seconds):
        self.html = f'{{html}}<p class="drawn">{{seconds:.6f}}</p>'

    def _repr_html_(self):
        return self.html


def draw(k):
    begin = time.perf_counter()
    maps = {{"FEM": fem(model, image, layer=layer, k=k)}}
    shown = heatmaps(model.picture(image), maps, alt=f"A leaf, and FEM at k = {{k:.2f}}")
    return Timed(shown.html, time.perf_counter() - begin)


controls = {{"k": Slider("{LABEL}", 2.0, 0.0, 5.0, 0.05)}}
explore(draw, controls, static=[{{"k": 2.0}}])""",
}
# Asked before the key is pressed; resolved when all pictures of the figure that it changes are
# decoded.
WATCH = """() => {
  const figure = () => document.querySelector(".jp-OutputArea-output figure");
  const before = figure().outerHTML;
  let pressed;
  window.addEventListener("keydown", () => { pressed = performance.now(); },
    {capture: true, once: true});
  window.milliseconds = new Promise(resolve => {
    const observer = new MutationObserver(async () => {
      const now = figure();
      if (!now || now.outerHTML === before) return;
      observer.disconnect();
      await Promise.all([...now.querySelectorAll("img")].map(image => image.decode()));
      resolve(performance.now() - pressed);
    });
    observer.observe(document.body, {subtree: true, childList: true, attributes: true});
  });
}"""


def key_to_picture(page: Page, key: str) -> float:
    """Seconds from this key on the slider to the decoded picture."""
    page.locator(".labkit-slider .noUi-handle").first.focus()
    page.evaluate(WATCH)
    page.keyboard.press(key)
    return page.evaluate("window.milliseconds") / 1000


def redraw(page: Page) -> float:
    """Seconds that the kernel needed for the figure that is shown."""
    return float(page.locator(".drawn").inner_text())


def measurements(quick: bool = False) -> Iterator[Measurement]:
    """Steps of a slider to and fro, after some unmeasured ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notebooks").mkdir()
        write_notebook(folder / "notebooks" / "slider.ipynb", CELLS)
        with server(folder) as address, chromium() as browser:
            page = opened(browser, address, "slider.ipynb", _is_drawn)
            assert page is not None, "JupyterLab gave the notebook no kernel; run it again"
            yield _measured(page, 2 if quick else KEYS)


def _is_drawn(page: Page) -> bool:
    return page.locator(".labkit-slider .noUi-handle").first.is_visible()


def _measured(page: Page, n: int) -> Measurement:
    steps, redraws = [], []
    for k in range(n + 2):
        steps.append(key_to_picture(page, "ArrowRight" if k % 4 < 2 else "ArrowLeft"))
        redraws.append(redraw(page))
    seconds = {
        LIMIT: [0.25] * n,
        "key to picture": steps[2:],
        "of it, method and figure": redraws[2:],
    }
    promise = Promise("key to picture", LIMIT, at_most=1.0)
    ours = list(seconds)[1:]
    return Measurement(
        "Step of a slider", "minivgg", ours, [promise], seconds, dict.fromkeys(seconds)
    )


if __name__ == "__main__":
    timing.main(measurements)
