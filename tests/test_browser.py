"""Labs 1, 5, 7 and 8 in JupyterLab under real Chromium: their controls are moved."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
import skimage.data
from conftest import needs
from PIL import Image
from playwright.sync_api import TimeoutError, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NEEDED = {  # the cells that the controls stand on
    "01_linear_probe.ipynb": [
        *("parameters", "imports", "network", "prepare", "shapes", "mean-difference"),
        *("threshold", "layers", "layers-figure"),
    ],
    "05_rise_lime.ipynb": [
        *("parameters", "imports", "imports-labkit", "network", "leaf", "ask"),
        *("show", "live", "live-controls"),
        *("toggle", "toggle-draw", "toggle-controls"),
    ],
    "07_learned_perturbations.ipynb": [
        *("parameters", "imports", "imports-labkit", "networks", "image", "learn-draw"),
        *("live", "live-draw", "live-controls", "live-watch"),
    ],
    "08_your_own_picture.ipynb": [
        *("parameters", "imports", "imports-labkit", "network", "dashboard"),
    ],
}
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
TOKEN = "lab"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def server(folder):
    """JupyterLab on copies of the cells that the controls need, with settings of its own."""
    (folder / "notebooks").mkdir()
    for name, needed in NEEDED.items():
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if cell.id in needed]
        for cell in notebook.cells:
            cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / "notebooks" / name)
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [
        f"--IdentityProvider.token={TOKEN}",
        "--ServerApp.root_dir=" + str(folder / "notebooks"),
    ]
    command += [f"--LabApp.app_settings_dir={write_settings(folder)}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=private(folder), stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def write_settings(folder):
    settings = folder / "app_settings"
    settings.mkdir()
    (settings / "overrides.json").write_text(json.dumps(SETTINGS))
    return settings


def private(folder):
    """An environment in which Jupyter reads and writes nothing of this machine's user."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    names += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    return {**os.environ, **{name: str(folder / name.lower()) for name in names}}


def wait_for(address, process, log):
    for _ in range(240):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser():
    needs("Chromium", "sudo apt install chromium", there=CHROMIUM)
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


def opened(browser, server, name, control):
    """A lab, run as far as the control with this label."""
    start_kernel(server, name)
    for _ in range(4):  # JupyterLab may ask for a kernel, or lose it, until the page is reloaded
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        try:
            page.goto(f"{server}/lab/tree/{name}?token={TOKEN}&reset")
            page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
            run_all_cells(page)
            if shows(page, control):
                page.set_default_timeout(120_000)
                return page
        except TimeoutError:
            pass
        page.close()
    needs("a kernel, to which JupyterLab did not get in four tries", there=False)


def shows(page, control):
    """Whether the control appears; not where JupyterLab asks for a kernel or hears from none."""
    ran = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]"))
    n, last = 0, time.monotonic()
    while time.monotonic() - last < 60:
        if page.get_by_label(control).is_visible():
            return True
        if page.locator(".jp-Dialog").is_visible():
            return False
        if ran.count() != n:
            n, last = ran.count(), time.monotonic()
        time.sleep(0.2)
    return False


@pytest.fixture(scope="module")
def page(browser, server):
    page = opened(browser, server, "01_linear_probe.ipynb", "Feature layer")
    yield page
    page.close()


@pytest.fixture(scope="module")
def live(browser, server):
    page = opened(browser, server, "05_rise_lime.ipynb", "row 2, column 2")
    yield page
    page.close()


@pytest.fixture(scope="module")
def learner(browser, server):
    page = opened(browser, server, "07_learned_perturbations.ipynb", "Learning rate (number)")
    yield page
    page.close()


@pytest.fixture(scope="module")
def bench(browser, server):
    page = opened(browser, server, "08_your_own_picture.ipynb", "Method")
    yield page
    page.close()


def start_kernel(server, name):
    """Before the page opens, so that it seldom has to ask for one."""
    session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
    address = f"{server}/api/sessions?token={TOKEN}"
    request = urllib.request.Request(address, json.dumps(session).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60):
        pass


def run_all_cells(page):
    """From the menu, again if the click came before the kernel was there to take it."""
    page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").first.wait_for()
    started = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|1)\]")).first
    for _ in range(5):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        time.sleep(5)
        if started.is_visible():
            return
    raise AssertionError("the cells did not start to run")


def threshold_figure(page):
    return page.locator("img[alt^='At threshold']")


def shown_threshold(page):
    return float(
        re.search(r"At threshold (-?[\d.]+)", threshold_figure(page).get_attribute("alt"))[1]
    )


def wait_until(holds):
    """Poll, because the figure is drawn by the kernel after the control has moved."""
    for _ in range(300):
        if holds():
            return
        time.sleep(0.2)
    raise AssertionError("the page did not follow within a minute")


def test_arrow_keys_on_the_slider_move_numbers_and_figure(page):
    field, caption = page.get_by_label("Threshold (number)"), page.locator("figcaption").first
    before = (shown_threshold(page), float(field.input_value()), caption.inner_text())
    picture = threshold_figure(page).get_attribute("src")
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wait_until(lambda: float(field.input_value()) > before[1])
    wait_until(lambda: shown_threshold(page) == pytest.approx(float(field.input_value()), abs=1e-2))
    assert shown_threshold(page) > before[0]
    assert caption.inner_text() != before[2]
    assert threshold_figure(page).get_attribute("src") != picture


def test_a_typed_number_moves_slider_and_figure(page):
    field, handle = page.get_by_label("Threshold (number)"), page.locator(".noUi-handle").first
    before = handle.get_attribute("aria-valuenow")
    typed = round(float(field.input_value()) - 2.0, 2)
    field.fill(str(typed))
    field.press("Enter")
    wait_until(lambda: shown_threshold(page) == pytest.approx(typed, abs=1e-2))
    assert handle.get_attribute("aria-valuenow") != before


def test_the_layer_is_chosen_by_keyboard(page):
    figure = page.locator("img[alt^='Probe on']")
    before = figure.get_attribute("alt")
    page.get_by_label("Feature layer").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    wait_until(lambda: figure.get_attribute("alt") != before)
    assert re.match(r"Probe on \S+: AUC 0\.\d{3}", figure.get_attribute("alt"))


def test_figures_fit_on_the_page(page):
    for figure in page.locator("figure img").all():
        box, around = figure.bounding_box(), page.locator(".jp-Notebook").first.bounding_box()
        assert box["x"] + box["width"] <= around["x"] + around["width"]


def test_a_long_run_is_watched_and_stopped(live):
    start, stop = (live.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop"))
    figure = live.locator("img[alt^='The RISE map of the leaf after']")
    start.focus()
    live.keyboard.press("Enter")
    figure.wait_for()
    first = figure.get_attribute("alt")
    wait_until(lambda: figure.get_attribute("alt") != first)  # it grows
    stop.focus()
    live.keyboard.press("Enter")
    wait_until(start.is_enabled)
    assert not stop.is_enabled()
    seen = int(re.search(r"after (\d+) masks", figure.get_attribute("alt"))[1])
    assert 0 < seen < 1000
    width = live.locator(".progress-bar").first.get_attribute("style")
    assert float(re.search(r"width: ([\d.]+)%", width)[1]) == pytest.approx(seen / 10, abs=1)


def test_other_controls_are_served_while_it_runs(live):
    start, stop = (live.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop"))
    toggled = live.locator("img[alt*='rectangles hidden']")
    before = toggled.get_attribute("alt")
    start.click()
    wait_until(stop.is_enabled)
    live.get_by_label("row 2, column 2").focus()
    live.keyboard.press("Space")
    wait_until(lambda: toggled.get_attribute("alt") != before)
    assert "1 of 16 rectangles hidden" in toggled.get_attribute("alt")
    assert stop.is_enabled()
    stop.click()
    wait_until(start.is_enabled)


MOVED = {  # lab 7's sliders, and what two steps up and one down make of them; 4 blocks are most
    "l1": "0.04",
    "Steps": "210",
    "Learning rate": "0.0004",
    "Blocks": "3",
    "Layers a block": "3",
    "Power": "7",
    "Dilation in pixels": "21",
}


def test_learning_goes_by_its_sliders_and_stays_where_it_is_stopped(learner):
    handles = learner.locator(".noUi-handle").all()
    for handle, (label, moved) in zip(handles, MOVED.items(), strict=True):
        handle.focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            learner.keyboard.press(key)
        field = learner.get_by_label(f"{label} (number)")
        wait_until(lambda field=field, moved=moved: field.input_value() == moved)
    start, stop = (
        learner.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop")
    )
    figure = learner.locator("img[alt*='what became of it']")
    start.focus()
    learner.keyboard.press("Enter")
    figure.wait_for()
    first = figure.get_attribute("src")
    wait_until(lambda: figure.get_attribute("src") != first)  # the curves grow
    stop.focus()
    learner.keyboard.press("Enter")
    wait_until(start.is_enabled)
    said, drawn = (figure.get_attribute(name) for name in ("alt", "src"))
    n = int(re.search(r"(\d+) steps of 0.0004, l1 0.04, 3 blocks of 3 layers", said)[1])
    assert 2 < n < 210
    width = learner.locator(".progress-bar").first.get_attribute("style")
    assert float(re.search(r"width: ([\d.]+)%", width)[1]) == pytest.approx(100 * n / 210, abs=1)
    time.sleep(3)
    assert figure.get_attribute("src") == drawn


def test_a_photograph_is_uploaded_explained_and_reported(bench, folder, tmp_path):
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    figure = bench.locator("img[alt*='as efficientnet_lite0 sees it']").first

    def shown(words):
        wait_until(lambda: words in figure.get_attribute("alt"))

    with bench.expect_file_chooser() as chooser:
        bench.get_by_role("button", name="Upload a picture").click()
    chooser.value.set_files(tmp_path / "coffee.png")
    shown("coffee.png as")
    likeliest = bench.get_by_label("Class").locator("option").first.inner_text()
    bench.get_by_label("Class").select_option(index=1)
    bench.get_by_role("button", name="Explain").click()
    shown("the maps of gradcam:")
    assert likeliest.split()[0] not in figure.get_attribute("alt")  # the other class
    bench.get_by_label("Method").select_option(label="RISE (lab 5)")
    masks = bench.get_by_label("Masks (number)")
    masks.fill("100")
    masks.press("Enter")
    wait_until(lambda: bench.get_by_text("100 forward passes").is_visible())
    bench.get_by_role("button", name="Explain").click()
    shown("; rise:")
    bench.get_by_role("button", name="Save report").click()
    page = folder / "notebooks" / "coffee explained.html"
    wait_until(page.is_file)
    assert "n_masks=100" in page.read_text(encoding="utf-8")


def test_what_is_no_picture_is_refused_where_the_reader_looks(bench, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with bench.expect_file_chooser() as chooser:
        bench.get_by_role("button", name="Upload a picture").click()
    chooser.value.set_files(tmp_path / "notes.png")
    alert = bench.locator(".jp-Notebook p[role=alert]")
    alert.wait_for()
    assert "picture" in alert.inner_text()
