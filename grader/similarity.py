"""Notebooks that are alike: a place to look, and nothing more.

What was handed out is taken away, names and numbers are made equal, and short runs of what is left
are compared, after Schleimer, Wilkerson and Aiken, "Winnowing: Local Algorithms for Document
Fingerprinting", SIGMOD 2003, https://theory.stanford.edu/~aiken/publications/papers/sigmod03.pdf.
Differs from the paper: all runs are kept, none are winnowed, as notebooks are short; and runs that
many students share are left out, as they are the solution and not a copy.
"""

from __future__ import annotations

import io
import keyword
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from labkit.cells import Cell

RUN = 8  # tokens
FEW = 20  # runs: with fewer, two notebooks are alike by chance
COMMON = 0.25  # share of the students above which a run is the solution
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}


class Pair(NamedTuple):
    """Two notebooks and the share of the smaller one's runs that the other has as well."""

    a: str
    b: str
    share: float
    runs: int  # that both have


def similar(own: Mapping[str, Sequence[Cell]], *, at_least: float = 0.6) -> list[Pair]:
    """Pairs of students whose own cells are alike, the most alike first.

    Two honest solutions of a small exercise may be equal; see what the pair share beyond it, above
    all in mistakes, comments and words.

    Args:
        own: by student, the cells that are not as they were handed out.
        at_least: share of the smaller notebook's runs.
    """
    runs = {student: _runs(cells) for student, cells in own.items()}
    spread = Counter(run for some in runs.values() for run in some)
    limit = max(2, COMMON * len(runs))
    rare = {s: {run for run in some if spread[run] <= limit} for s, some in runs.items()}
    enough = {student: some for student, some in rare.items() if len(some) >= FEW}
    pairs = []
    for a, b in combinations(sorted(enough), 2):
        both = len(enough[a] & enough[b])
        share = both / min(len(enough[a]), len(enough[b]))
        if share >= at_least:
            pairs.append(Pair(a, b, share, both))
    return sorted(pairs, key=lambda pair: -pair.share)


def _runs(cells: Sequence[Cell]) -> set[tuple[str, ...]]:
    runs = set()
    for cell in cells:
        tokens = list(_tokens(cell.source)) if cell.kind == "code" else cell.text.lower().split()
        runs |= {tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)}
    return runs


def _tokens(source: str) -> Iterator[str]:
    """Python's, with names, numbers and texts made equal; as many as can be read."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in SILENT:
                continue
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                yield "name"
            elif token.type in (tokenize.NUMBER, tokenize.STRING):
                yield tokenize.tok_name[token.type]
            else:
                yield token.string
    except (tokenize.TokenError, SyntaxError):  # an unfinished cell
        return
