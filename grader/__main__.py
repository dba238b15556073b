"""The command line: `python -m grader SUBMISSIONS --lab N --out GRADES`."""

from __future__ import annotations

import argparse
import sys

from grader import command


def main(arguments: list[str] | None = None) -> int:
    """Grade; the exit code is 1 where it found that something can not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m grader", description="Grade a folder of notebooks in a sandbox."
    )
    command.add_arguments(parser)
    try:
        command.main(parser.parse_args(arguments))
    except (ValueError, OSError) as error:
        print(f"grader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
