"""Many cases of one behaviour in one test."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def case(name: object) -> Iterator[None]:
    """Add the case to the report of a check that fails in it."""
    try:
        yield
    except BaseException as error:  # pytest.fail's is no Exception
        error.add_note(f"in the case {name}")
        raise


def faults(check: Callable[[object], None], items: Iterable[object]) -> list[str]:
    """What fails, by item, after all of them were checked."""
    found = []
    for item in items:
        try:
            check(item)
        except Exception as error:
            found.append(f"{getattr(item, 'name', item)}: {type(error).__name__}: {error}")
    return found


def in_every(items: Iterable[object]) -> Callable[[Callable], Callable]:
    """Make a check of one item a test of all of them."""

    def tested(check: Callable[[object], None]) -> Callable[[], None]:
        def test() -> None:
            assert not (found := faults(check, items)), "\n".join(found)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return tested
