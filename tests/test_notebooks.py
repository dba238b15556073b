"""What every notebook of the course owes its readers."""

import re
from itertools import dropwhile
from pathlib import Path

import nbformat
import pytest

from tools.stamp_colab import GITHUB, SETUP_ID, Place, stamped

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
STAMP = "`make colab`, or `python -m tools.stamp_colab --clear`"
MAX_LINES = 15
MAX_BYTES = 1_500_000
# In prose: a number as a run gives it, and for which network, or by which definition, it holds.
NO_PROSE = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)", re.DOTALL)
NUMBER = re.compile(r"\d\.\d|\d ?%")
HOLDS_FOR = re.compile(
    "embedded|minivgg|VGG|ResNet|SqueezeNet|MobileNet|EfficientNet|"
    "paper|et al\\.|by chance|for chance|draws"
)


def opens_with_objectives(notebook):
    opening = notebook.cells[0].source
    for wanted in ("# ", "**You will be able to**", "**You need**", "**Minutes:**"):
        if wanted not in opening:
            yield f"the opening cell must have {wanted!r}"


def has_parameters_first(notebook):
    first = code_cells(notebook)[0]
    if "parameters" not in first.metadata.get("tags", []):
        yield f"[{first.id}] the first code cell must be tagged parameters"
    for name in ("MODEL", "DATA"):
        if not re.search(rf"^{name} = .*# @param ", first.source, re.MULTILINE):
            yield f"[{first.id}] must set {name} with a Colab form comment"


def has_set_up_before_imports(notebook):
    if code_cells(notebook)[1].id != SETUP_ID:
        yield f"the second code cell must be {SETUP_ID!r}; {STAMP} puts it there"


def imports_come_first(notebook):
    _parameters, *cells = cells_of_the_lab(notebook)
    for cell in dropwhile(imports_something, cells):
        if imports_something(cell):
            yield f"[{cell.id}] imports belong right after the set-up"
    if any("import *" in cell.source for cell in cells):
        yield "star imports hide where a name comes from"


def folds_its_plumbing(notebook):
    for cell in code_cells(notebook):
        plumbing = cell.id == SETUP_ID or cell.id.startswith("imports")
        if plumbing and not cell.metadata.get("jupyter", {}).get("source_hidden"):
            yield f"[{cell.id}] must be folded; {STAMP} does it"


def has_short_cells(notebook):
    for cell in code_cells(notebook):
        n = len(cell.source.splitlines())
        if n > MAX_LINES:
            yield f"[{cell.id}] has {n} lines, {MAX_LINES} at most"


def closes_with_papers(notebook):
    closing = notebook.cells[-1].source
    for wanted in ("## What we saw", "does **not** show", "**Papers:**", "**Next:**"):
        if wanted not in closing:
            yield f"the closing cell must have {wanted!r}"


def has_readable_ids(notebook):
    ids = [cell.id for cell in notebook.cells]
    if len(set(ids)) < len(ids):
        yield "cell ids must differ"
    for name in ids:
        if re.fullmatch(r"[0-9a-f-]{8,}", name):
            yield f"[{name}] is a random id; give the cell a name that stays"


def names_a_kernel(notebook):
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "kernelspec must be python3, or JupyterLab asks for a kernel"


def is_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"cells must be executed once, in order, got {counts}; run `make notebooks`"


def has_clean_outputs(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"[{cell.id}] stores an error"
            if output.get("name") == "stderr":
                yield f"[{cell.id}] writes to stderr: {output.text[:80]}"


def describes_every_figure(notebook):
    for cell in code_cells(notebook):
        for data in (output.get("data", {}) for output in cell.outputs):
            if any(kind.startswith("image/") for kind in data):
                yield f"[{cell.id}] shows a picture without alternative text; use labkit.figures"
            html = "".join(data.get("text/html", ""))
            for image in re.findall(r"<img[^>]*>", html):
                if not re.search(r'alt="[^"]{20,}"', image):
                    yield f"[{cell.id}] an <img> needs alternative text that says what one sees"
                if "<figure" not in html:
                    yield f"[{cell.id}] an <img> must stand in a <figure>"


def links_to_files_that_exist(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for link in re.findall(r"\]\((?!https?://)([^)#]+)", cell.source):
                if not (NOTEBOOKS / link).is_file():
                    yield f"[{cell.id}] links to {link}, which is not there"


def says_what_its_numbers_hold_for(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for paragraph in NO_PROSE.sub("", cell.source).split("\n\n"):
                if NUMBER.search(paragraph) and not HOLDS_FOR.search(paragraph):
                    yield f"[{cell.id}] has a number that another network may prove wrong"


def names_no_machine(notebook):
    for cell in notebook.cells:
        said = cell.source + str(cell.get("outputs", ""))
        found = re.search(r"(?<![\w:/.])/(home|root|work|tmp|Users)/|localhost|127\.0\.0\.1", said)
        if found:
            yield f"[{cell.id}] names a place on one machine: {found[0]}"


CHECKS = (
    opens_with_objectives,
    has_parameters_first,
    has_set_up_before_imports,
    imports_come_first,
    has_short_cells,
    folds_its_plumbing,
    closes_with_papers,
    has_readable_ids,
    names_a_kernel,
    is_executed_in_order,
    has_clean_outputs,
    describes_every_figure,
    links_to_files_that_exist,
    says_what_its_numbers_hold_for,
    names_no_machine,
)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cells_of_the_lab(notebook):
    return [cell for cell in code_cells(notebook) if cell.id != SETUP_ID]


def imports_something(cell):
    return re.search(r"^\s*(import|from) ", cell.source, re.MULTILINE) is not None


def place_in(path):
    """Where the set-up cell of a notebook finds the course; None as the course is shipped."""
    cells = {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}
    written = re.search(r'^REPOSITORY, BRANCH = "(.*?)", "(.*?)"', cells[SETUP_ID], re.MULTILINE)
    return Place(written[1].removeprefix(GITHUB), written[2]) if written[1] else None


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_notebook(check):
    notebooks = {path.name: nbformat.read(path, as_version=4) for path in PATHS}
    faults = {name: list(check(notebook)) for name, notebook in notebooks.items()}
    assert faults == {name: [] for name in notebooks}


def test_every_notebook_is_light():
    sizes = {path.name: path.stat().st_size for path in PATHS}
    assert {name: size for name, size in sizes.items() if size >= MAX_BYTES} == {}


def test_every_lab_compares_a_key_number():
    mark = "# NBVAL_CHECK_OUTPUT"
    labs = PATHS[1:]
    assert [path.name for path in labs if mark not in path.read_text(encoding="utf-8")] == []


def test_set_up_and_badge_are_what_make_colab_writes():
    """The same set-up cell in all notebooks, and a badge of its own in each, or in none."""
    place = place_in(PATHS[0])
    for path in PATHS:
        text = path.read_text(encoding="utf-8")
        again = stamped(nbformat.reads(text, as_version=4), path.name, place)
        assert nbformat.writes(again).rstrip("\n") + "\n" == text, f"{path.name}: {STAMP}"


def test_there_are_notebooks():
    assert [path.name for path in PATHS][:2] == ["00_start.ipynb", "01_linear_probe.ipynb"]


def bad_notebook():
    """A notebook that fails every check."""
    picture = nbformat.v4.new_output("display_data", {"image/png": "", "text/html": "<img src=''>"})
    stderr = nbformat.v4.new_output("stream", name="stderr", text="warning at /home/me/x.py")
    error = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    cells = [
        nbformat.v4.new_markdown_cell("no title", id="0a1b2c3d"),
        nbformat.v4.new_code_cell("x = 1", id="a"),
        nbformat.v4.new_code_cell("y = 2", id="y"),
        nbformat.v4.new_code_cell("from os import *", id="imports-b"),
        nbformat.v4.new_code_cell("import os\n" * 16, id="c", outputs=[picture, stderr, error]),
        nbformat.v4.new_markdown_cell("[there](nowhere.ipynb)\n\nIt falls to 0.25.", id="end"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def test_each_check_finds_what_it_looks_for():
    assert [check.__name__ for check in CHECKS if not list(check(bad_notebook()))] == []
