"""Long functions take turns with their caller, and can be stopped."""

import threading
import time

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from labkit.steps import in_steps

NETWORK = nn.Identity()


def counting(seen, n=3):
    def work():
        try:
            for k in range(n):
                NETWORK(torch.zeros(1))
                seen.append(k)
            return "result"
        finally:
            seen.append("ended")

    return work


def outcome(steps):
    """How often it came back, and what it returned."""
    n = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return n, end.value
        n += 1


def test_it_comes_back_before_each_layer_and_returns_the_result():
    seen = []
    assert outcome(in_steps(counting(seen), every=0.0)) == (3, "result")
    assert seen == [0, 1, 2, "ended"]


def test_it_comes_back_only_when_a_step_has_been_long_enough():
    assert outcome(in_steps(counting([]), every=60.0)) == (0, "result")


def test_it_never_runs_at_the_same_time_as_its_caller():
    seen = []
    steps = in_steps(counting(seen), every=0.0)
    for expected in ([], [0], [0, 1]):
        next(steps)
        time.sleep(0.02)
        assert seen == expected
    steps.close()


def test_stopped_early_it_ends_there_and_leaves_no_hook_and_no_thread():
    seen, threads = [], threading.active_count()
    steps = in_steps(counting(seen), every=0.0)
    next(steps)
    next(steps)
    assert torch_modules._global_forward_pre_hooks
    steps.close()
    assert seen == [0, "ended"]
    assert not torch_modules._global_forward_pre_hooks
    assert threading.active_count() == threads


def test_the_callers_own_passes_do_not_wait():
    steps = in_steps(counting([]), every=0.0)
    next(steps)
    assert NETWORK(torch.ones(1)) == 1
    steps.close()


def test_an_error_reaches_the_caller():
    def fail():
        NETWORK(torch.zeros(1))
        raise ValueError("no maps")

    steps = in_steps(fail, every=0.0)
    next(steps)
    with pytest.raises(ValueError, match="no maps"):
        next(steps)
    assert not torch_modules._global_forward_pre_hooks
