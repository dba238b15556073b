"""The layer that Grad-CAM reads by default: in every family of torchvision, and in some of timm."""

import pytest
from skips import needs_module


@pytest.mark.slow
def test_the_last_maps_of_every_family_are_found_and_read():
    needs_module("timm", "conformance")
    from tools.make_networks_table import FAMILIES, fault_of_layer

    faults = {family.name: fault_of_layer(family) for family in FAMILIES}
    assert {name: fault for name, fault in faults.items() if fault} == {}
