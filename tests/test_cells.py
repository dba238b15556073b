"""The cells of a notebook file, how they are compared, and which of them defines a name."""

import json

import nbformat
import pytest

from labkit.cells import Cell, defines, read_notebook
from tools.stamp_colab import setup_source

BY_HAND = setup_source(None).replace('"", "main"', "'https://example.org/x', 'main'")


def code(source):
    return Cell(1, "code", source)


def test_which_cell_defines_a_name():
    for source in (
        "def fem(A):\n    return A",
        "import torch\nfem = lambda A: A",
        "fem: object = print",
    ):
        assert defines(code(source), "fem"), source
        assert not defines(Cell(1, "markdown", source), "fem"), source
    for source in (
        "def fem2(A):\n    return A",
        "    def fem(A):\n        return A",
        "fem == 3",
        "print(fem)",
    ):
        assert not defines(code(source), "fem"), source


def test_words_that_are_no_notebook():
    for content in (b"", b"[]", b"\xff\xfe", b'{"cells": 3}', b'{"nbformat": 4}'):
        with pytest.raises(ValueError, match="not a notebook that can be read"):
            read_notebook(content)


def test_a_notebook_of_version_3_is_read():
    old = nbformat.v3.new_notebook(
        worksheets=[nbformat.v3.new_worksheet(cells=[nbformat.v3.new_code_cell("x = 1")])]
    )
    (only,) = read_notebook(json.dumps(old).encode())
    assert (only.kind, only.source) == ("code", "x = 1")


def test_marks_of_any_kind_are_survived():
    cells = [nbformat.v4.new_code_cell("x = 1") for _ in range(2)]
    cells[0]["metadata"]["nbgrader"] = [1]
    cells[1]["metadata"]["nbgrader"] = {"grade_id": 5}
    content = json.dumps(nbformat.v4.new_notebook(cells=cells)).encode()
    assert [cell.grade_id for cell in read_notebook(content)] == ["", ""]


def test_a_place_that_a_student_wrote_is_nobodys_own():
    assert code(BY_HAND).text == code(setup_source(None)).text != ""


def test_code_where_the_place_stands_is_the_students():
    for own in (
        "f(1), g(2)",
        '"" + f() + "", "main"',
        '""+f()+"", "main"',
        '"", print("x")',
        "'a', 'b' + f(1)",
        '"", "main"; x = 1',
    ):
        source = setup_source(None).replace('"", "main"', own)
        assert code(source).text != code(setup_source(None)).text, own
    assert code("REPOSITORY, BRANCH = f()").text == "REPOSITORY, BRANCH = f()"
