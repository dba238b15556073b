"""The labs on real networks and pictures: `make test-real`; minutes, so not in `make test`."""

import re
from pathlib import Path

import papermill
import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


OF_A_LAB = {  # what a lab is given instead of leaves, or because a real network is slow
    "05_rise_lime": {"N_MASKS": 200},
    "06_evaluation": {"DATA": "mit1003", "N_PICTURES": 3},
    "07_learned_perturbations": {"STEPS": 20, "N_LEAVES": 1},
    "08_your_own_picture": {"DATA": "photos/cat.jpg"},
}


@pytest.fixture(scope="module", params=["squeezenet1_1", "mobilenet_v2", "efficientnet_lite0"])
def network(request):
    return request.param


def printed(path, settings, out, real_folder, monkeypatch):
    """Execute a lab and return what each of its cells printed."""
    monkeypatch.setenv("TORCH_HOME", str(real_folder / "torch"))
    lab = papermill.execute_notebook(
        path, out / path.name, parameters=settings, cwd=NOTEBOOKS, progress_bar=False
    )
    return {
        cell.id: "".join(o.get("text", "") for o in cell.get("outputs", [])) for cell in lab.cells
    }


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("0[1-8]_*.ipynb")), ids=lambda p: p.stem)
def test_the_lab_runs(path, network, real_folder, tmp_path, monkeypatch):
    if path.stem == "03_biased_gradients" and network != "squeezenet1_1":
        pytest.skip("lab 3 needs a network without normalisation")
    settings = {"MODEL": network, "DATA": "plantvillage", **OF_A_LAB.get(path.stem, {})}
    settings["DATA"] = str(real_folder / settings["DATA"])
    said = printed(path, settings, tmp_path, real_folder, monkeypatch)
    assert network in said.get("network", said.get("networks", ""))  # lab 7 has two
    if path.stem == "01_linear_probe":
        assert float(re.search(r"AUC of the mean difference: (\S+)", said["roc"])[1]) > 0.95
        assert "equal to scikit-learn's: True" in said["roc"]


def test_lab_6_on_the_default_pictures(network, real_folder, tmp_path, monkeypatch):
    # The network crops them: fixations near the border are outside then.
    settings = {"MODEL": network, "N_PICTURES": 1}
    path = NOTEBOOKS / "06_evaluation.ipynb"
    said = printed(path, settings, tmp_path, real_folder, monkeypatch)
    assert network in said["network"]
