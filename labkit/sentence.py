"""Sentences that are printed without a break inside a word."""

from __future__ import annotations

import textwrap

WIDTH = 70  # characters; JupyterLab breaks longer lines of printed text inside words


class Sentence(str):
    """A text that `print` divides into lines; everywhere else it is one line."""

    def __new__(cls, text: str) -> Sentence:
        """A sentence of a text, or of another sentence."""
        return super().__new__(cls, "".join(text))

    def __str__(self) -> str:
        return textwrap.fill("".join(self), WIDTH, break_long_words=False, break_on_hyphens=False)

    def __format__(self, spec: str) -> str:
        return format("".join(self), spec)
