"""The labs on a GPU, a pretended one where there is none: `make test-gpu`; minutes, as test-real.

On a machine with a GPU this file must see it: `conftest.py` hides it from all other tests.
"""

from pathlib import Path

import nbformat
import papermill
import pytest
import torch

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"
PRETENCE = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from pretended_gpu import pretended_gpu
pretence = pretended_gpu()
pretence.__enter__()
"""
OF_A_LAB = {  # less of what takes long
    "05_rise_lime": {"N_MASKS": 100},
    "06_evaluation": {"N_PICTURES": 2},
    "07_learned_perturbations": {"STEPS": 20, "N_LEAVES": 1},
}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("0[0-8]_*.ipynb")), ids=lambda p: p.stem)
def test_the_lab_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    if not torch.cuda.is_available():
        notebook.cells.insert(0, nbformat.v4.new_code_cell(PRETENCE))
    nbformat.write(notebook, tmp_path / path.name)
    lab = papermill.execute_notebook(
        tmp_path / path.name,
        tmp_path / f"executed_{path.name}",
        parameters=OF_A_LAB.get(path.stem, {}),
        cwd=NOTEBOOKS,
        progress_bar=False,
    )
    said = "".join(o.get("text", "") for cell in lab.cells for o in cell.get("outputs", []))
    assert "cuda:0" in said
