"""What the tests that start kernels share: the mark of those that need a sandbox, and patience."""

import pytest

from grader.grade import Seconds
from grader.sandbox import why_not

WHY_NOT = why_not()
# one line, with the command that would end the skip
REASON = (
    "needs bubblewrap: sudo apt install bubblewrap"
    if WHY_NOT and "there is no `bwrap` here" in WHY_NOT
    else f"needs a sandbox: {WHY_NOT}"
)
needs_a_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=REASON)
PATIENCE = 600  # seconds, for what ends by itself: no machine that can run the tests takes longer
GENEROUS = Seconds(PATIENCE, PATIENCE, 10 * PATIENCE)
