"""Forward passes of pictures in a row, each of which differs from the one before in a few places.

Where the places lie close together, as do the pixels of one superpixel or of a sharp peak of a map,
only what they change is computed; see `labkit.explain.incremental`. Nothing is approximated. On a
GPU, where it was not measured, every picture is seen whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.explain.batches import BlackBox
from labkit.explain.incremental import (
    NEARLY_ALL,
    Change,
    Place,
    Recorder,
    Residual,
    Stage,
    carried,
    pasted,
)
from labkit.explain.windows import Interval, Spans


class Film:
    """What the network knows of the picture shown last, batch after batch."""

    def __init__(self, model: BlackBox) -> None:
        """Begin with whole pictures.

        Args:
            model: a network in eval mode, or a function of images, which sees whole pictures.
        """
        self._model = model
        self._recorder: Recorder | None = None  # from the first time on that something can be saved
        self._last: Tensor | None = None  # [C, H, W], the last picture that was seen whole
        # What is recorded of the picture shown last; None where nothing is.
        self._start: Place | None = None
        self._stages: list[Stage | Residual] = []

    def show(self, images: Tensor, changed: Tensor) -> tuple[BlackBox, Tensor]:
        """Take the next pictures as far into the network as that saves something.

        Args:
            images: `[N, C, H, W]`, the next ones.
            changed: `[m]`, the pixels, counted row by row, in which any of them differs from the
                picture shown last; at least one, but for the very first pictures.

        Returns:
            The rest of the network, and the maps `[N, C', h, w]` that it reads; the model itself
            and the images where nothing is saved.
        """
        if self._last is None or images.device.type != "cpu":
            return self._whole(images)
        height, width = images.shape[2:]
        rows, columns = _extent(changed // width), _extent(changed % width)
        if _length(rows) * _length(columns) > NEARLY_ALL * height * width:
            return self._whole(images)
        if self._start is None:
            # Not before the network has run: it may keep something from its first pass.
            self._recorder = self._recorder or Recorder(self._model)
            self._start = Place(self._last.permute(1, 2, 0), self._model)
            self._stages = self._recorder.stages(self._last)
        n = len(images)
        change = Change(
            images[:, :, slice(*rows), slice(*columns)].permute(0, 2, 3, 1),
            Spans((rows[0],) * n, _length(rows)),
            Spans((columns[0],) * n, _length(columns)),
        )
        place, change = carried(self._start, self._stages, change, keep=True)
        if place is self._start:
            return self._whole(images)
        reached = [stage.after is place for stage in self._stages].index(True)
        self._stages = self._stages[: reached + 1]
        (maps,) = pasted(place, change, n)
        return place.rest, maps

    def _whole(self, images: Tensor) -> tuple[BlackBox, Tensor]:
        self._last, self._start, self._stages = images[-1], None, []
        return self._model, images


def _extent(places: Tensor) -> Interval:
    first, last = torch.aminmax(places)
    return int(first), int(last) + 1


def _length(interval: Interval) -> int:
    return interval[1] - interval[0]
