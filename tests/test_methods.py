"""The registry: that each record is true of its function."""

import inspect

import pytest

from labkit.explain import learn_perturbation
from labkit.methods import MAPS, NOTHING, REGISTRY, Options
from labkit.models import last_conv, load_model


@pytest.fixture(scope="module")
def model():
    return load_model("minivgg", weights="random")


def test_names_and_titles_differ_and_each_record_stands_under_its_name():
    assert all(name == method.name for name, method in REGISTRY.items())
    assert len({method.title for method in REGISTRY.values()}) == len(REGISTRY)


def test_each_setting_with_a_control_is_one_of_the_function_and_within_its_ends(model):
    for name, method in REGISTRY.items():
        taken = inspect.signature(method.explainer(model)).parameters
        for setting, control in method.settings.items():
            default = taken[setting].default
            if isinstance(control, Options):
                assert control.value == default and default in control.options
                continue
            assert isinstance(control.value, int) == isinstance(default, int), (name, setting)
            assert control.minimum <= control.value <= control.maximum, (name, setting)


def test_where_feature_maps_are_read_the_layer_is_bound(model):
    for name, method in REGISTRY.items():
        bound = getattr(method.explainer(model), "keywords", {})
        assert bound.get("layer") == (last_conv(model) if method.needs == MAPS else None), name


def test_what_needs_no_network_costs_nothing(model, image):
    for name, method in REGISTRY.items():
        assert (sum(method.cost({}, image)) == 0) == (method.needs == NOTHING), name


def test_settings_that_are_handed_on_are_those_of_the_function_that_takes_them():
    said = inspect.signature(REGISTRY["perturbation"].explain).parameters
    own = inspect.signature(learn_perturbation).parameters
    assert list(said) == list(own)
    assert all(said[name].default == own[name].default for name in own)
    with pytest.raises(TypeError, match="unexpected keyword argument 'step'"):
        REGISTRY["perturbation"].explain(None, None, 0, step=3)
