import re

import numpy as np
import pytest
import torch

from labkit.checks import check_choice, check_count


def test_a_known_choice_and_a_whole_number_pass():
    check_choice("mode", "rows", ("rows", "columns"))
    check_choice("mode", "rows", {"rows": 1})
    check_count("n_masks", 1)
    check_count("n_masks", np.int64(2), minimum=2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("colums", "mode must be one of rows, columns, got 'colums'; did you mean 'columns'?"),
        ("zebra", "mode must be one of rows, columns, got 'zebra'"),
        (None, "mode must be one of rows, columns, got None"),
        (["rows"], "mode must be one of rows, columns, got ['rows']"),
    ],
)
def test_an_unknown_choice_gets_the_list_and_the_nearest_name(value, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        check_choice("mode", value, ("rows", "columns"))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0, ValueError, "n_masks must be at least 1, got 0"),
        (2.0, TypeError, "n_masks must be a whole number, got 2.0; int(...) converts it"),
        (True, TypeError, "n_masks must be a whole number, got True; int(...) converts it"),
        (torch.tensor(3), TypeError, "n_masks must be a whole number, got tensor(3); int(...)"),
    ],
)
def test_a_count_is_a_whole_number_that_is_large_enough(value, error, text):
    with pytest.raises(error, match=f"^{re.escape(text)}"):
        check_count("n_masks", value)
