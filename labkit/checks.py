"""Refuse a setting that cannot be right, in one wording for the whole package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse what is none of the known names, and suggest the nearest.

    Args:
        name: of the argument.
        value: what it is.
        choices: what it can be.

    Raises:
        ValueError: value is none of the choices.
    """
    choices, word = list(choices), value if isinstance(value, str) else ""
    if word in choices:
        return
    near = difflib.get_close_matches(word, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}")


def check_count(name: str, count: object, minimum: int = 1) -> None:
    """Refuse what is not a whole number from `minimum` upwards.

    Raises:
        TypeError: count is not a whole number.
        ValueError: it is too small.
    """
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(f"{name} must be a whole number, got {count!r}; int(...) converts it")
    if count < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {count}")
