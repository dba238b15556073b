"""The mark of the tests that need a sandbox."""

import pytest

from grader.sandbox import why_not

WHY_NOT = why_not()
# one line, with the command that would end the skip
REASON = (
    "needs bubblewrap: sudo apt install bubblewrap"
    if WHY_NOT and "there is no `bwrap` here" in WHY_NOT
    else f"needs a sandbox: {WHY_NOT}"
)
needs_a_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=REASON)
