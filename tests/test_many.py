"""Many images explained together, against one call each."""

from functools import partial

import pytest
import torch
from conftest import assert_untouched, state_of
from torch.testing import assert_close

from labkit.engine.batches import CPU_BATCH
from labkit.explain import (
    fem,
    gradcam,
    gradient_times_input,
    hirescam,
    input_gradient,
    many,
    occlusion,
    saliency,
    sensitivity,
    smoothgrad,
)

N = CPU_BATCH + 3
IMAGES = torch.randn(N, 3, 12, 16, generator=torch.Generator().manual_seed(0))
TARGETS = [i % 3 for i in range(N)]
TOGETHER = {
    "input_gradient": input_gradient,
    "sensitivity": sensitivity,
    "saliency": saliency,
    "gradient_times_input": gradient_times_input,
    "gradcam": partial(gradcam, layer="4"),
    "hirescam": partial(hirescam, layer="4"),
    "fem": partial(fem, layer="4", k=1.0),
}
ONE_BY_ONE = {
    "occlusion": partial(occlusion, patch=4, stride=4),
    "smoothgrad": partial(smoothgrad, n_samples=3),
    "own": lambda model, image, target: image[0] * target,
}


@pytest.mark.parametrize("name", [*TOGETHER, *ONE_BY_ONE])
def test_many_maps_are_those_of_one_call_each(small_network, name):
    method, before = (TOGETHER | ONE_BY_ONE)[name], state_of(small_network)
    maps = many(method, small_network, IMAGES, TARGETS)
    each = [method(small_network, *pair) for pair in zip(IMAGES, TARGETS, strict=True)]
    expected = torch.stack(each)
    # Sums of float32 in another order: a thousand terms each, at the most.
    within = 1000 * torch.finfo(torch.float32).eps * expected.abs().max().item()
    assert_close(maps, expected, rtol=0, atol=within)
    assert not maps.requires_grad and maps.is_contiguous()
    assert_untouched(small_network, before)


@pytest.mark.parametrize("method", TOGETHER.values(), ids=TOGETHER)
def test_images_run_in_batches_of_the_usual_size(small_network, method):
    sizes = []
    small_network.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    many(method, small_network, IMAGES, TARGETS)
    assert sizes == [1, CPU_BATCH, N - CPU_BATCH]  # the first tells how many classes there are


def test_one_target_serves_all(small_network):
    expected = many(saliency, small_network, IMAGES, [1] * N)
    for targets in (1, torch.tensor(1), torch.ones(N, dtype=torch.int64)):
        assert torch.equal(many(saliency, small_network, IMAGES, targets), expected)
    without = many(fem, small_network, IMAGES, None, layer="4")
    assert torch.equal(without, many(fem, small_network, IMAGES, 1, layer="4"))


def test_settings_are_those_of_the_method(small_network):
    bound = partial(fem, layer="2", k=1.0)
    maps = many(bound, small_network, IMAGES, None, layer="4")
    assert torch.equal(maps, many(fem, small_network, IMAGES, None, layer="4", k=1.0))
    with pytest.raises(TypeError, match="n_masks"):
        many(gradcam, small_network, IMAGES, 0, layer="4", n_masks=3)
    with pytest.raises(ValueError, match="k must be a number of standard deviations"):
        many(fem, small_network, IMAGES, 0, layer="4", k=-1)


@pytest.mark.parametrize("method", [saliency, ONE_BY_ONE["own"]])
def test_a_wrong_target_is_named(small_network, method):
    before = state_of(small_network)
    targets = [*TARGETS[:-1], 3]
    with pytest.raises(IndexError, match=rf"targets\[{N - 1}\] must be a class .* 0 to 2, got 3"):
        many(method, small_network, IMAGES, targets)
    with pytest.raises(TypeError, match=r"targets\[1\] must be a class index \(int\), got float"):
        many(method, small_network, IMAGES, [0, 1.0, *TARGETS[2:]])
    with pytest.raises(ValueError, match=f"one for each of {N} images, got 2"):
        many(method, small_network, IMAGES, [0, 1])
    assert_untouched(small_network, before)


def test_images_must_be_a_batch(small_network):
    for images, got in ((IMAGES[0], r"\[3, 12, 16\]"), (IMAGES[:0], r"\[0, "), ([1], "list")):
        with pytest.raises(ValueError, match=rf"images must have shape \[N, C, H, W\], got {got}"):
            many(saliency, small_network, images, 0)
    spoiled = IMAGES.clone()
    spoiled[2, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="image must be finite"):
        many(saliency, small_network, spoiled, 0)
