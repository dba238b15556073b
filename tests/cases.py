"""Many cases of one behaviour in one test."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def case(name: object) -> Iterator[None]:
    """Add the case to the report of a check that fails in it."""
    try:
        yield
    except BaseException as error:  # pytest.fail's is no Exception
        error.add_note(f"in the case {name}")
        raise
