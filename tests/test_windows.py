"""Windows and what they reach, worked out by hand and against layers of ones."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.engine.windows import Slide, Spans, coverage, neighbourhoods, window_intervals


@pytest.mark.parametrize(
    ("size", "patch", "stride", "expected"),
    [
        (7, 3, 2, [(0, 3), (2, 5), (4, 7)]),
        (8, 3, 2, [(0, 3), (2, 5), (4, 7), (6, 8)]),  # the last one clipped
        (5, 2, 2, [(0, 2), (2, 4), (4, 5)]),
        (4, 3, 3, [(0, 3), (3, 4)]),
        (3, 1, 1, [(0, 1), (1, 2), (2, 3)]),
        (5, 5, 1, [(0, 5)]),
    ],
)
def test_windows_worked_by_hand(size, patch, stride, expected):
    assert window_intervals(size, patch, stride) == expected


def test_windows_cover_the_axis_and_none_is_in_vain():
    for size, patch, stride in product(range(1, 12), range(1, 12), range(1, 12)):
        if not stride <= patch <= size:
            continue
        intervals = window_intervals(size, patch, stride)
        assert [start for start, _ in intervals] == list(range(0, len(intervals) * stride, stride))
        assert all(stop - start == patch for start, stop in intervals[:-1])
        assert intervals[-1][1] == size
        assert all(stop < size for _, stop in intervals[:-1])
        assert coverage(intervals).sum(dim=0).min() >= 1


def test_coverage_worked_by_hand():
    expected = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    assert torch.equal(coverage([(0, 2), (1, 3), (2, 4)]), expected)


def test_neighbourhoods_worked_by_hand():
    assert list(neighbourhoods(2, 3, 4)) == [
        [(0, 0), (0, 1), (1, 0), (1, 1)],
        [(0, 2), (1, 2)],
    ]
    assert list(neighbourhoods(3, 1, 8)) == [[(0, 0), (1, 0)], [(2, 0)]]
    assert list(neighbourhoods(1, 2, 3)) == [[(0, 0)], [(0, 1)]]


def test_neighbourhoods_hold_each_window_once():
    for n_rows, n_columns, count in product(range(1, 6), range(1, 8), range(1, 20)):
        squares = list(neighbourhoods(n_rows, n_columns, count))
        windows = [window for square in squares for window in square]
        assert sorted(windows) == list(product(range(n_rows), range(n_columns)))
        assert all(0 < len(square) <= count for square in squares)


def test_spans_get_one_length_within_the_axis():
    # the longest has 4 places; the last one would end at 10 of 8, and starts at 8 - 4
    spans = Spans.around([(0, 2), (3, 7), (6, 8)], 8)
    assert spans == Spans((0, 3, 4), 4)
    assert spans.slices == [slice(0, 4), slice(3, 7), slice(4, 8)]


def test_a_span_holds_its_interval():
    intervals = [(start, stop) for stop in range(1, 8) for start in range(stop)]
    for one, other in product(intervals, intervals):
        spans = Spans.around([one, other], 7)
        assert spans.length == max(one[1] - one[0], other[1] - other[0])
        for (start, stop), span in zip((one, other), spans.slices, strict=True):
            assert 0 <= span.start <= start < stop <= span.stop <= 7


def test_spans_that_hold_either_of_two_worked_by_hand():
    # places 0 to 2 and 5 to 7; then 0 to 2 and 7 to 8, which gets the length of the longer one
    held = Spans.holding(Spans((0, 6), 2), Spans((1, 5), 2), 9)
    assert held == Spans((0, 5), 3)
    assert Spans.holding(Spans((0, 7), 2), Spans((2, 8), 1), 9) == Spans((0, 6), 3)


def test_a_slide_worked_by_hand():
    # output o reads inputs 2 o - 1 to 2 o + 1: 3 is read by 1 and 2, 4 by 2, 0 by 0
    slide = Slide(kernel=3, stride=2, padding=1, dilation=1, size_in=7, size_out=4)
    inputs = Spans((3,), 2)
    outputs = slide.outputs_of(inputs)
    assert slide.reach == 2
    assert slide.padded_size == 10  # one zero before, 7 inputs, one behind, one that none reads
    assert outputs == Spans((1,), 2)
    # output 1 begins with input 1, at place 2 behind the padding; output 2 ends at place 6
    assert slide.inputs_of(outputs) == Spans((2,), 6)
    assert slide.offsets(inputs, outputs) == [2]  # inputs 1 and 2 come before 3
    assert slide.outputs_of(Spans((0,), 1)) == Spans((0,), 1)
    assert slide.offsets(Spans((0,), 1), Spans((0,), 1)) == [1]  # the zero comes before


def test_several_spans_reach_as_far_as_the_furthest():
    # 1 is read by outputs 0 and 1, 4 by 2 alone, 6 by the last one alone
    slide = Slide(kernel=3, stride=2, padding=1, dilation=1, size_in=7, size_out=4)
    inputs = Spans((1, 4, 6), 1)
    outputs = slide.outputs_of(inputs)
    assert outputs == Spans((0, 2, 2), 2)
    assert slide.inputs_of(outputs) == Spans((0, 4, 4), 6)
    assert slide.offsets(inputs, outputs) == [2, 1, 3]


def test_dilation_widens_the_reach():
    # output o reads inputs o - 2, o, o + 2; those from 1 to 5 reach input 3
    slide = Slide(kernel=3, stride=1, padding=2, dilation=2, size_in=8, size_out=8)
    assert slide.reach == 4
    assert slide.outputs_of(Spans((3,), 1)) == Spans((1,), 5)
    assert slide.inputs_of(Spans((1,), 5)) == Spans((1,), 9)


def test_inputs_that_no_output_reads_are_held_all_the_same():
    # outputs read inputs 0, 3, 6: none reads 4
    skips = Slide(kernel=1, stride=3, padding=0, dilation=1, size_in=7, size_out=3)
    inputs = Spans((4,), 1)
    assert skips.outputs_of(inputs) == Spans((1,), 1)
    assert skips.inputs_of(Spans((1,), 1)) == Spans((3,), 3)
    assert skips.offsets(inputs, Spans((1,), 1)) == [1]
    # outputs read inputs 0 to 2 and 2 to 4: none reads 5, the last one
    ends = Slide(kernel=3, stride=2, padding=0, dilation=1, size_in=6, size_out=2)
    assert ends.outputs_of(Spans((5,), 1)) == Spans((1,), 1)
    assert ends.inputs_of(Spans((1,), 1)) == Spans((2,), 4)


def slides():
    """Every small layer that gives an output, with what it reads `[size_in, size_out]`."""
    settings = product(range(1, 6), range(1, 5), range(3), (1, 2), (5, 8, 11))
    for kernel, stride, padding, dilation, size in settings:
        if size + 2 * padding <= (kernel - 1) * dilation:
            continue
        ones = torch.ones(1, 1, kernel)
        places = torch.eye(size)[:, None]
        reads = F.conv1d(places, ones, None, stride, padding, dilation)[:, 0] > 0
        yield Slide(kernel, stride, padding, dilation, size, reads.shape[1]), reads


def spans_of(size):
    """For every length, all the places where a span can lie."""
    return [Spans(tuple(range(size - length + 1)), length) for length in range(1, size + 1)]


def test_what_reads_a_change_is_within_its_outputs():
    for slide, reads in slides():
        for inputs in spans_of(slide.size_in):
            outputs = slide.outputs_of(inputs)
            for changed, reached in zip(inputs.slices, outputs.slices, strict=True):
                assert 0 <= reached.start < reached.stop <= slide.size_out
                changes = reads[changed].any(dim=0)
                assert changes[reached].sum() == changes.sum(), (slide, changed)


def test_only_what_reads_a_change_is_among_its_outputs():
    for slide, reads in slides():
        if slide.dilation > 1 or slide.stride > slide.kernel:
            continue  # between the places that one output reads, others may read
        for start, stop in ((a, b) for b in range(slide.size_in + 1) for a in range(b)):
            (reached,) = slide.outputs_of(Spans((start,), stop - start)).slices
            changes = reads[start:stop].any(dim=0)
            if changes.any():
                assert changes[reached].all(), (slide, start, stop)
            else:
                assert (reached.start, reached.stop) == (slide.size_out - 1, slide.size_out)


def test_the_inputs_of_outputs_hold_the_change():
    for slide, _ in slides():
        for inputs in spans_of(slide.size_in):
            outputs = slide.outputs_of(inputs)
            read = slide.inputs_of(outputs)
            for start, first, offset in zip(
                inputs.starts, read.starts, slide.offsets(inputs, outputs), strict=True
            ):
                assert first + offset == start + slide.padding
                assert 0 <= offset <= read.length - inputs.length, (slide, inputs)
                assert first + read.length <= slide.padded_size


def test_the_inputs_of_outputs_give_just_these():
    generator = torch.Generator().manual_seed(0)
    for slide, _ in slides():
        x = torch.randn(1, 1, slide.size_in, generator=generator)
        weight = torch.randn(1, 1, slide.kernel, generator=generator)
        y = F.conv1d(x, weight, None, slide.stride, slide.padding, slide.dilation)
        behind = slide.padded_size - slide.padding - slide.size_in
        padded = F.pad(x, (slide.padding, behind), value=1.0)
        padded[..., : slide.padding] = 0
        padded[..., slide.padding + slide.size_in :][..., : slide.padding] = 0
        for length in range(1, slide.size_out + 1):
            outputs = Spans((0, slide.size_out - length), length)
            for read, given in zip(slide.inputs_of(outputs).slices, outputs.slices, strict=True):
                alone = F.conv1d(padded[..., read], weight, None, slide.stride, 0, slide.dilation)
                assert_close(alone, y[..., given])
