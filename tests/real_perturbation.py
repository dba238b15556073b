"""The drop on real photographs: `make test-real`; minutes, so not in `make test`."""

import pytest

from labkit.explain import learn_perturbation
from labkit.models import load_model

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2"])
@pytest.mark.parametrize("photograph", ["cat", "car", "palace"])
def test_the_class_of_a_photograph_falls_a_hundredfold(real_folder, monkeypatch, name, photograph):
    monkeypatch.setenv("TORCH_HOME", str(real_folder / "torch"))
    model = load_model(name)
    image = model.prepare(real_folder / "photos" / f"{photograph}.jpg")
    learned = learn_perturbation(model, image, model(image[None]).argmax().item())
    assert learned.drop > 100
