"""Where a window lies in a picture, and how far a change inside it spreads through a layer.

Pure arithmetic, one axis at a time: a convolution or a pooling treats rows and columns alike. An
output o of a layer with the settings kernel k, stride s, padding p and dilation d reads the inputs
o s - p, o s - p + d, ..., o s - p + (k - 1) d.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt

import torch
from torch import Tensor

Interval = tuple[int, int]  # start and stop, as in range(start, stop)


def window_intervals(size: int, patch: int, stride: int) -> list[Interval]:
    """Windows every `stride` places, the last one clipped at the border: they cover the axis."""
    n = -((patch - size) // stride) + 1  # rounded up
    return [(k * stride, min(k * stride + patch, size)) for k in range(n)]


def coverage(intervals: Sequence[Interval]) -> Tensor:
    """`[n, size]`: 1 where an interval covers a place of the axis, otherwise 0."""
    places = torch.arange(intervals[-1][1])
    return torch.stack([(start <= places) & (places < stop) for start, stop in intervals]).float()


def neighbourhoods(n_rows: int, n_columns: int, count: int) -> Iterator[list[tuple[int, int]]]:
    """Squares of at most `count` windows; together they are the whole grid.

    Yields:
        The (row, column) numbers of the windows in one square.
    """
    side = isqrt(count)
    for top, left in product(range(0, n_rows, side), range(0, n_columns, side)):
        rows = range(top, min(top + side, n_rows))
        yield list(product(rows, range(left, min(left + side, n_columns))))


@dataclass(frozen=True)
class Spans:
    """Stretches of one common length, so that what lies in them can be stacked to a batch."""

    starts: tuple[int, ...]
    length: int

    @classmethod
    def around(cls, intervals: Iterable[Interval], size: int) -> Spans:
        """One span around each interval, as long as the longest, within range(size)."""
        starts, stops = zip(*intervals, strict=True)
        length = max(stop - start for start, stop in zip(starts, stops, strict=True))
        return cls(tuple(min(start, size - length) for start in starts), length)

    @classmethod
    def holding(cls, one: Spans, other: Spans, size: int) -> Spans:
        """Spans within range(size), each of which holds one of either."""
        pairs = zip(one.slices, other.slices, strict=True)
        return cls.around(((min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs), size)

    @property
    def slices(self) -> list[slice]:
        """The spans, to index with."""
        return [slice(start, start + self.length) for start in self.starts]


@dataclass(frozen=True)
class Slide:
    """How a layer slides along one axis."""

    kernel: int
    stride: int
    padding: int  # before the first input
    dilation: int
    size_in: int
    size_out: int

    @property
    def reach(self) -> int:
        """How far behind its first input an output still reads."""
        return (self.kernel - 1) * self.dilation

    @property
    def padded_size(self) -> int:
        """Length of the padded input that `inputs_of` may ask for."""
        return self.size_out * self.stride + self.reach

    def outputs_of(self, inputs: Spans) -> Spans:
        """All outputs that read a place of each span, with some more where lengths differ."""
        return Spans.around([self._outputs_of(span) for span in inputs.slices], self.size_out)

    def _outputs_of(self, span: slice) -> Interval:
        # Where the stride skips inputs, one output more is taken, so that `inputs_of` these outputs
        # contains the span.
        reach = max(self.reach, self.stride - 1)
        first = -((reach - self.padding - span.start) // self.stride)  # rounded up
        last = (span.stop - 1 + self.padding) // self.stride
        return min(max(first, 0), self.size_out - 1), min(last + 1, self.size_out)

    def inputs_of(self, outputs: Spans) -> Spans:
        """The places of the padded input that give just these outputs.

        They end stride - 1 places after the last one that is read: too few for another output, and
        enough to hold the inputs at a border that no output reads.
        """
        starts = tuple(start * self.stride for start in outputs.starts)
        return Spans(starts, outputs.length * self.stride + self.reach)

    def offsets(self, inputs: Spans, outputs: Spans) -> list[int]:
        """Where each span of inputs starts within `inputs_of` its outputs."""
        pairs = zip(inputs.starts, self.inputs_of(outputs).starts, strict=True)
        return [start + self.padding - first for start, first in pairs]
