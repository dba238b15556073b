"""Three small exercises and a question, with the notebook that is handed out for them."""

import nbformat
import numpy as np
import torch

from labkit.selfcheck.exercise import Exercise, Mistake, Question
from labkit.selfcheck.networks import drawn


def _float32(values):
    return np.asarray(values, dtype=np.float32)


def _maps(rng):
    return [
        Question("by hand", {"maps": _float32([[[1, 2], [3, 6]]])}),
        Question("random", {"maps": _float32(rng.normal(size=(4, 3, 5)))}),
    ]


def _networks(rng):
    model = drawn(rng, "cnn", conv=(3, 1, 3, 3), out=(2, 3))
    return [Question("random", {"model": model, "image": _float32(rng.normal(size=(1, 6, 6)))})]


def _values(rng):
    return [
        Question("by hand", {"values": _float32([1, 3])}),
        Question("random", {"values": _float32(rng.normal(size=7))}),
        Question("all equal", {"values": np.full(4, 2.0, dtype=np.float32)}, part="no spread"),
    ]


def _standardised(values):
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if spread > 0 else torch.zeros_like(values)


def _sample(values):
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else torch.zeros_like(values)


EXERCISES = (
    Exercise(
        "toy.weights",
        "The weights",
        2,
        solve=lambda maps: maps.mean(dim=(1, 2)),
        questions=_maps,
        mistakes=(
            Mistake(
                "sum instead of mean", "They grow with `maps`.", lambda maps: maps.sum(dim=(1, 2))
            ),
        ),
    ),
    Exercise(
        "toy.scores",
        "The scores",
        2,
        solve=lambda model, image: model(image[None])[0],
        questions=_networks,
    ),
    Exercise(
        "toy.standardised",
        "Standardised values",
        2,
        solve=_standardised,
        questions=_values,
        separate={"no spread": 1},
        mistakes=(Mistake("sample deviation", "Which deviation is meant?", _sample, points=1),),
    ),
    Exercise("toy.q1", "Why?", 3),
)

RIGHT = {
    "weights": "def weights(maps):\n    return maps.mean(dim=(1, 2))",
    "scores": "def scores(model, image):\n    return model(image[None])[0]",
    "standardised": (
        "def standardised(values):\n"
        "    centred = values - values.mean()\n"
        "    spread = (centred**2).mean().sqrt()\n"
        "    return centred / spread if spread > 0 else centred"
    ),
}
STUBS = {
    name: source.splitlines()[0] + "\n    raise NotImplementedError"
    for name, source in RIGHT.items()
}
IMPORTS = "import torch\nfrom labkit.selfcheck import check"
PLACEHOLDER = "*Your answer, in place of this line.*"
WORDS = "Because the mean does not grow with the map."


def _marked(cell, grade_id, *, solution=False, task=False):
    cell["metadata"]["nbgrader"] = {
        "grade_id": grade_id,
        "solution": solution,
        "grade": False,
        "task": task,
        "locked": not solution,
        "schema_version": 3,
    }
    return cell


def cells_of(answers=None, words=PLACEHOLDER):
    """The cells of a notebook with these answers by function; stubs for what is left out."""
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [markdown("# The toy lab"), code(IMPORTS)]
    for name, source in (STUBS | (answers or {})).items():
        cells += [
            _marked(markdown(f"## Write `{name}`"), f"toy-{name}-card"),
            _marked(code(source), f"toy-{name}", solution=True),
            _marked(code(f'check("toy.{name}", {name})'), f"toy-{name}-check"),
        ]
    question = _marked(markdown("Why not the sum?"), "toy-q1", task=True)
    return [*cells, question, markdown(words), markdown("## What you built")]


def as_file(cells, **settings):
    """A notebook file."""
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.update(settings)
    return nbformat.writes(notebook).encode("utf-8")


def notebook(answers=None, words=WORDS, before=(), after=()):
    """A notebook file with these answers, and cells of code before and after them."""
    before = [nbformat.v4.new_code_cell(source) for source in before]
    after = [nbformat.v4.new_code_cell(source) for source in after]
    return as_file([*before, *cells_of(answers, words), *after])


RELEASE = as_file(cells_of())
