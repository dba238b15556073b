"""Forward passes of pictures in a row, each of which differs from the one before in a few places.

Where the places lie close together, as do the pixels of one superpixel or of a sharp peak of a map,
only what they change is computed; see `labkit.engine.incremental`. Nothing is approximated. On a
GPU, where it was not measured, every picture is seen whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.engine.batches import BlackBox
from labkit.engine.incremental import (
    Change,
    Place,
    Recorder,
    Residual,
    Stage,
    carried,
    pasted,
    shares,
)
from labkit.engine.windows import Interval, Spans

# What recording a picture costs, in pictures seen whole; the first time the network is followed and
# its twin checked as well. What that would save is not known before: changes of at most a SMALL
# share of the picture are taken to be worth it.
FIRST_RECORDING, RECORDING, SMALL = 6, 3, 0.25


class Film:
    """What the network knows of the picture shown last, batch after batch."""

    def __init__(self, model: BlackBox) -> None:
        """Begin with whole pictures.

        Args:
            model: a network in eval mode, or a function of images, which sees whole pictures.
        """
        self._model = model
        self._recorder: Recorder | None = None  # from the first small change on
        self._last: Tensor | None = None  # [C, H, W], the picture shown last
        # What was recorded last; the first n_valid hold for the picture shown last.
        self._stages: list[Stage | Residual] = []
        self._n_valid = 0
        self._missed = 0.0  # what a recording would have saved since the last one, in pictures

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
        last, self._last = self._last, images[-1]
        if last is None or images.device.type != "cpu":
            return self._model, images
        n, (height, width) = len(images), images.shape[2:]
        top, bottom = _extent(changed // width)
        left, right = _extent(changed % width)
        rows, columns = Spans((top,) * n, bottom - top), Spans((left,) * n, right - left)
        self._missed += n * self._would_save(rows, columns, height * width)
        if self._missed > (RECORDING if self._recorder else FIRST_RECORDING):
            # Not before the network has run: it may keep something from its first pass.
            self._recorder = self._recorder or Recorder(self._model)
            self._stages, self._missed = [], 0.0  # the old ones make room first
            self._stages = self._recorder.stages(last)
            self._n_valid = len(self._stages)
        values = images[:, :, top:bottom, left:right].permute(0, 2, 3, 1)
        start = Place(last.permute(1, 2, 0), self._model)
        stages = self._stages[: self._n_valid]
        place, change = carried(start, stages, Change(values, rows, columns), keep=True)
        if place is start:
            self._n_valid = 0
            return self._model, images
        self._n_valid = [stage.after is place for stage in stages].index(True) + 1
        (maps,) = pasted(place, change, n)
        return place.rest, maps

    def _would_save(self, rows: Spans, columns: Spans, n_pixels: int) -> float:
        """The share of a pass that one picture with such a change could do without, if recorded."""
        if self._recorder is None:
            share = rows.length * columns.length / n_pixels
            return 1 - share if share <= SMALL else 0.0
        costs = [stage.cost for stage in self._stages]
        ahead = list(zip(costs, shares(self._stages, rows, columns), strict=False))
        saved = sum(cost * (1 - share) for cost, share in ahead[self._n_valid :])
        return saved / max(sum(costs), 1)


def _extent(places: Tensor) -> Interval:
    first, last = torch.aminmax(places)
    return int(first), int(last) + 1
