"""What the cards of the exercises say: titles and points.

A card is written in solutions/labN/labN.ipynb and nowhere else. `make exercises` copies its title
and points to cards.json, because labkit is installed without the solutions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from types import MappingProxyType

from labkit.selfcheck.exercise import Exercise, Mistake

Recorded = Mapping[int, Mapping[str, tuple[str, Callable]]]
NONE: Recorded = MappingProxyType({})
CARDS = json.loads(files("labkit.selfcheck").joinpath("cards.json").read_text(encoding="utf-8"))


def on_card(name: str, *, mistakes: Recorded = NONE, **checks: object) -> Exercise:
    """An exercise with its card's title and points.

    Args:
        name: such as "lab4.fem".
        mistakes: by the points that such an answer still earns, then by the mistake's name: the
            hint, and a function that makes exactly this mistake.
        checks: the other fields of `Exercise`; none for a question in words.
    """
    recorded = tuple(
        Mistake(label, hint, wrong, points)
        for points, named in mistakes.items()
        for label, (hint, wrong) in named.items()
    )
    return Exercise(name, **CARDS[name], mistakes=recorded, **checks)
