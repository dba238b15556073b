"""What the cards of the exercises say: titles and points.

A card is written in solutions/labN/labN.ipynb and nowhere else. `make exercises` copies its title
and points to cards.json, because labkit is installed without the solutions.
"""

from __future__ import annotations

import json
from importlib.resources import files

from labkit.selfcheck.exercise import Exercise

CARDS = json.loads(files("labkit.selfcheck").joinpath("cards.json").read_text(encoding="utf-8"))


def on_card(name: str, **checks: object) -> Exercise:
    """An exercise with its card's title and points.

    Args:
        name: such as "lab4.fem".
        checks: the other fields of `Exercise`; none for a question in words.
    """
    return Exercise(name, **CARDS[name], **checks)
