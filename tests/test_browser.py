"""The labs in JupyterLab under real Chromium: their controls are moved."""

import ast
import re
import time
from pathlib import Path

import nbformat
import pytest
import skimage.data
from axe_playwright_python.sync_playwright import Axe
from conftest import needs
from PIL import Image

from benchmarks import jupyterlab
from benchmarks.jupyterlab import write_notebook

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
REDRAWN = {  # labs whose controls redraw a figure at once, and the label of the last one
    "02_pixel_sensitivity.ipynb": "Stride",
    "03_biased_gradients.ipynb": "Gamma",
    "04_gradcam_fem.ipynb": "Noise",
    "06_evaluation.ipynb": "Share of the pixels",
}
ALL_KINDS = {  # of controls, in one notebook
    "imports": """from labkit.figures import Figure, new_canvas
from labkit.widgets import Choice, Slider, Toggles, explore, watch


def figure(text):
    return Figure(new_canvas(2.0, 2.0)[0], text)""",
    "moved": """def draw(dose, few, many, on):
    return figure(f"moved: {dose:g}, {few}, {many}, {on}")


controls = {
    "dose": Slider("Dose", 2.0, 0.0, 5.0, 0.5, "mg"),
    "few": Choice("Few", ["one", "two", "three"], "one"),
    "many": Choice("Many", [f"option {n}" for n in range(9)], "option 3"),
    "on": Toggles("Shown", ["left", "right"], [True, False]),
}
explore(draw, controls, static=[])""",
    "watched": """def grow(steps):
    for n in range(int(steps)):
        yield n / steps, n


def draw_grown(n):
    return figure(f"grown to {n}")


watch(grow, draw_grown, {"steps": Slider("Steps", 500, 5, 900, 5)}, static=[])""",
}


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
    for name in REDRAWN:
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        notebook.cells = needed_by_controls(notebook.cells)
        nbformat.write(notebook, folder / "notebooks" / name)
    write_notebook(folder / "notebooks" / "kinds.ipynb", ALL_KINDS)
    with jupyterlab.server(folder) as address:
        yield address


def needed_by_controls(cells):
    """The cells that move a figure, and those that give the names that they use."""
    wanted, kept = {"explore"}, []
    for cell in reversed([c for c in cells if c.cell_type == "code" and c.id != "set-up"]):
        names = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Name)]
        used = {n.id for n in names}
        given = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        given |= {n.name for n in ast.parse(cell.source).body if isinstance(n, ast.FunctionDef)}
        if cell.id.startswith("imports") or "explore" in used or given & wanted:
            wanted |= used
            cell.outputs, cell.execution_count = [], None
            kept.insert(0, cell)
    return kept


@pytest.fixture(scope="module")
def browser():
    needs("Chromium", "sudo apt install chromium", there=jupyterlab.CHROMIUM)
    with jupyterlab.chromium() as browser:
        yield browser


def opened(browser, server, name, control):
    """A lab, run as far as the control with this label."""
    page = jupyterlab.opened(
        browser, server, name, lambda page: page.get_by_label(control).first.is_visible()
    )
    needs("a kernel, to which JupyterLab did not get in four tries", there=page is not None)
    return page


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
    page = opened(browser, server, "07_learned_perturbations.ipynb", "Learning rate as a number")
    yield page
    page.close()


@pytest.fixture(scope="module")
def bench(browser, server):
    page = opened(browser, server, "08_your_own_picture.ipynb", "Method")
    yield page
    page.close()


@pytest.fixture(scope="module")
def kinds(browser, server):
    page = opened(browser, server, "kinds.ipynb", "Steps as a number")
    yield page
    page.close()


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
    field, caption = page.get_by_label("Threshold as a number"), page.locator("figcaption").first
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
    field, handle = page.get_by_label("Threshold as a number"), page.locator(".noUi-handle").first
    before = handle.get_attribute("aria-valuenow")
    typed = round(float(field.input_value()) - 2.0, 2)
    field.fill(str(typed))
    field.press("Enter")
    wait_until(lambda: shown_threshold(page) == pytest.approx(typed, abs=1e-2))
    assert handle.get_attribute("aria-valuenow") != before


def test_the_layer_is_chosen_by_keyboard(page):
    caption = page.locator("figcaption", has_text="Probe on")
    before = caption.inner_text()
    layers = page.get_by_role("radiogroup", name="Feature layer")
    layers.locator("input:checked").focus()
    page.keyboard.press("ArrowLeft")
    wait_until(lambda: caption.inner_text() != before)
    assert re.match(r"Probe on \S+: AUC 0\.\d{3}", caption.inner_text())


def test_figures_fit_on_the_page(page):
    for figure in page.locator("figure img").all():
        box, around = figure.bounding_box(), page.locator(".jp-Notebook").first.bounding_box()
        assert box["x"] + box["width"] <= around["x"] + around["width"]


def test_a_long_run_is_watched_and_stopped(live):
    start, stop = (live.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop"))
    caption = live.locator("figcaption", has_text="masks of")
    start.focus()
    live.keyboard.press("Enter")
    caption.wait_for()
    first = caption.inner_text()
    wait_until(lambda: caption.inner_text() != first)  # it grows
    stop.focus()
    live.keyboard.press("Enter")
    wait_until(start.is_enabled)
    assert not stop.is_enabled()
    seen = int(re.match(r"(\d+) masks", caption.inner_text())[1])
    assert 0 < seen < 1000
    width = live.locator(".progress-bar").first.get_attribute("style")
    assert float(re.search(r"width: ([\d.]+)%", width)[1]) == pytest.approx(seen / 10, abs=1)


def test_other_controls_are_served_while_it_runs(live):
    start, stop = (live.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop"))
    toggled = live.locator("figcaption", has_text="rectangles hidden")
    before = toggled.inner_text()
    start.click()
    wait_until(stop.is_enabled)
    live.get_by_label("row 2, column 2").focus()
    live.keyboard.press("Space")
    wait_until(lambda: toggled.inner_text() != before)
    assert "1 of 16 rectangles hidden" in toggled.inner_text()
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
        field = learner.get_by_label(f"{label} as a number")
        wait_until(lambda field=field, moved=moved: field.input_value() == moved)
    start, stop = (
        learner.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop")
    )
    figure = learner.locator("figure", has_text="steps of")
    caption, curves = figure.locator("figcaption"), figure.locator("img").last
    start.focus()
    learner.keyboard.press("Enter")
    figure.wait_for()
    first = curves.get_attribute("src")
    wait_until(lambda: curves.get_attribute("src") != first)  # the curves grow
    stop.focus()
    learner.keyboard.press("Enter")
    wait_until(start.is_enabled)
    said, drawn = caption.inner_text(), curves.get_attribute("src")
    n = int(re.match(r"(\d+) steps of 0.0004, l1 0.04, 3 blocks of 3 layers", said)[1])
    assert 2 < n < 210
    width = learner.locator(".progress-bar").first.get_attribute("style")
    assert float(re.search(r"width: ([\d.]+)%", width)[1]) == pytest.approx(100 * n / 210, abs=1)
    time.sleep(3)
    assert curves.get_attribute("src") == drawn


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
    shown("the maps of Grad-CAM (lab 4):")
    assert likeliest.split()[0] not in figure.get_attribute("alt")  # the other class
    bench.get_by_label("Method").select_option(label="RISE (lab 5)")
    masks = bench.get_by_label("Masks as a number")
    masks.fill("100")
    masks.press("Enter")
    wait_until(lambda: bench.get_by_text("100 forward passes").is_visible())
    bench.get_by_role("button", name="Explain").click()
    shown("; RISE (lab 5):")
    bench.get_by_role("button", name="Save report").click()
    page = folder / "notebooks" / "coffee explained.html"
    wait_until(page.is_file)
    assert "n_masks=100" in page.read_text(encoding="utf-8")


def test_what_is_no_picture_is_refused_where_the_reader_looks(bench, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with bench.expect_file_chooser() as chooser:
        bench.get_by_role("button", name="Upload a picture").click()
    chooser.value.set_files(tmp_path / "notes.png")
    alert = bench.locator(".jp-Notebook div[role=alert]")
    alert.wait_for()
    assert "Below is still coffee.png" in alert.inner_text()


DROP = """async ([bytes, name]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
  const button = document.querySelector(".labkit-upload");
  for (const kind of ["dragover", "drop"])
    button.dispatchEvent(
      new DragEvent(kind, {dataTransfer: files, bubbles: true, cancelable: true}));
}"""


def test_a_photograph_is_dropped_on_the_button(bench, tmp_path):
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "cat.png")
    bench.evaluate(DROP, [list((tmp_path / "cat.png").read_bytes()), "cat.png"])
    bench.locator("img[alt^='cat.png as']").wait_for()


def test_a_report_fits_a_phone(browser, folder):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((folder / "notebooks" / "coffee explained.html").as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    page.close()


# Every kind of control


def moved(page):
    return page.locator("img[alt^='moved:']").first.get_attribute("alt")


@pytest.mark.parametrize(
    ("control", "key", "words"),
    [
        (".labkit-slider .noUi-handle", "ArrowRight", "moved: 2.5,"),
        (".labkit-choice input:checked", "ArrowRight", ", two,"),
        (".labkit-choice input:checked", "ArrowLeft", ", one,"),
        (".labkit-controls select", "ArrowDown", ", option 4,"),
        (".labkit-controls input[type=checkbox]", "Space", ", (False, False)"),
    ],
)
def test_every_kind_of_control_answers_keys(kinds, control, key, words):
    kinds.locator(control).first.focus()
    kinds.keyboard.press(key)
    wait_until(lambda: words in moved(kinds))


def test_a_sliders_handle_has_a_name(kinds):
    names = [kinds.get_by_role("slider", name=name, exact=True) for name in ("Dose", "Steps")]
    assert [name.count() for name in names] == [1, 1]


@pytest.mark.parametrize("lab", ["page", "live", "learner", "bench", "kinds"])
def test_axe_finds_nothing_in_figures_and_controls(lab, request):
    page = request.getfixturevalue(lab)
    page.locator(".labkit-controls").first.wait_for()
    found = Axe().run(page, context={"include": [[".jp-OutputArea"]]})
    assert found.violations_count == 0, found.generate_report()


def lines(page):
    found = page.locator("p", has_text="Run this cell to get the controls.")
    return [line.is_visible() for line in found.all()]


def test_a_saved_notebook_keeps_its_figures_and_says_how_to_go_on(kinds, browser, server, folder):
    frame = kinds.get_by_text("Press Start.", exact=True)
    assert frame.is_visible()
    kinds.get_by_role("button", name="Start", exact=True).click()
    grown = kinds.locator("img[alt^='grown to']")
    grown.wait_for()
    kinds.get_by_role("button", name="Stop", exact=True).click()
    wait_until(kinds.get_by_role("button", name="Start", exact=True).is_enabled)
    assert lines(kinds) == [False, False]
    figures = [moved(kinds), grown.get_attribute("alt")]
    kinds.keyboard.press("Control+s")

    def saved():
        notebook = nbformat.read(folder / "notebooks" / "kinds.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return "".join(str(output.get("data", {}).get("text/html", "")) for output in outputs)

    wait_until(lambda: all(f'alt="{figure}"' in saved() for figure in figures))
    jupyterlab.end_kernel(server, "kinds.ipynb")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{server}/lab/tree/kinds.ipynb?token={jupyterlab.TOKEN}&reset")
    page.locator("img[alt^='moved:']").wait_for()
    assert [moved(page), page.locator("img[alt^='grown to']").get_attribute("alt")] == figures
    wait_until(lambda: lines(page) == [True, True])
    errors = page.get_by_text("Error displaying widget")
    wait_until(lambda: errors.count() == 2)
    assert not any(error.is_visible() for error in errors.all())
    page.close()


FIGURES = """() => [...document.querySelectorAll(".jp-OutputArea figure")]
    .map(figure => figure.innerText + [...figure.querySelectorAll("img")].map(i => i.src).join())
    .join()"""


@pytest.mark.parametrize("name", REDRAWN)
def test_every_control_of_a_lab_redraws_its_figure_by_keys(name, browser, server):
    page = opened(browser, server, name, f"{REDRAWN[name]} as a number")
    moved = page.locator(".noUi-handle, input[type=radio]:checked, .jp-OutputArea select").all()
    assert moved
    for control in moved:
        before = page.evaluate(FIGURES)
        control.focus()
        for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):  # it may stand at an end
            page.keyboard.press(key)
        wait_until(lambda before=before: page.evaluate(FIGURES) != before)
        assert not page.locator("div[role=alert]").count()
    page.close()
