"""A GPU for machines without one: it computes on the CPU, and refuses what CUDA refuses.

    with pretended_gpu():
        model.to("cuda")

A tensor on the pretended device is a shell that says "cuda:0" around a tensor on the CPU. Each
operation on it is done with what the shells hold, and its result gets a shell again; a mode sees
to the operations that make a shell of no shell, such as `.to("cuda")`. What a program may not do
on a real GPU fails here with the words of torch: tensors of two devices in one operation, numpy
on a tensor of the GPU, a generator of the wrong device. It shows where tensors are, not what a GPU
computes: the numbers, and the memory, are the CPU's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

GPU = torch.device("cuda:0")
# What torch's own code sees: it would look for a driver if it saw CUDA.
INSIDE = torch.device("meta")
NAME = "a pretended GPU"
GIB = 2**30
CUDA = {  # what torch.cuda says
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda device=None: NAME,
    "mem_get_info": lambda device=None: (2 * GIB, 8 * GIB),  # free: small batches, as the CPU likes
    "synchronize": lambda device=None: None,
    "is_current_stream_capturing": lambda: False,
}
FROM_DATA = (torch.tensor, torch.as_tensor, torch.asarray)
ACCELERATOR = getattr(torch, "accelerator", SimpleNamespace())  # from torch 2.6
BY_INDEX = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
aten = torch.ops.aten
MOVES = {aten.copy_.default, aten._to_copy.default}  # from one device to another
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXING |= {aten._index_put_impl_.default, aten._unsafe_index.Tensor}


class OnGpu(torch.Tensor):
    """A tensor on the pretended GPU; `held` has its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device, is_cuda, is_meta = GPU, True, False

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnGpu:
        shell = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=INSIDE,
        )
        shell.held = held
        return shell

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})

    # These look into a tensor's memory, or at its exact type, and never come to torch's dispatch.
    def numpy(self, **_):
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def tolist(self):
        return self.held.tolist()

    def __format__(self, how):
        return format(self.item() if self.ndim == 0 else repr(self), how)

    def __repr__(self, **_):
        return f"{repr(self.held)[:-1]}, device='cuda:0')"


class _Asked(TorchFunctionMode):
    """Lets no code of torch's own hear of CUDA; what is asked for there, is asked for inside."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.device:  # the name of a device, nothing on it
            return function(*args, **kwargs)
        if function is torch.Tensor.cuda:
            return args[0].to(INSIDE)
        if function in FROM_DATA:  # looks into what it is given, past torch's dispatch
            asked = kwargs.get("device", getattr(args[0], "device", None))
            made = function(_held(args[0]), *args[1:], **kwargs | {"device": "cpu"})
            return made.to(INSIDE) if _is_gpu(asked) else made
        if function in BY_INDEX:  # makes tensors of lists, on the device that torch's code sees
            tensor, index, *value = args
            index = _listed(index) if not isinstance(index, tuple) else tuple(map(_listed, index))
            args = (tensor, index, *value)
        args = [INSIDE if _is_gpu(one) else one for one in args]
        kwargs = {name: INSIDE if _is_gpu(one) else one for name, one in kwargs.items()}
        return function(*args, **kwargs)


class _Computed(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return computed(function, args, kwargs or {})


def _held(data):
    """What the shells hold, in an argument or in a list of them."""
    return _each(data, OnGpu, lambda one: one.held)


def _listed(index):
    return torch.tensor(_held(index)) if isinstance(index, list | tuple) else index


def _is_gpu(device):
    return isinstance(device, str | torch.device) and str(device) in ("cuda", "cuda:0")


def computed(function, args, kwargs):
    """The result of one of torch's operations, on the device where a real one would be."""
    given = []
    _each((*args, *kwargs.values()), torch.Tensor, given.append)
    asked = kwargs.get("device")
    shelled = any(isinstance(one, OnGpu) for one in given)
    on_gpu = shelled if asked is None else asked == INSIDE
    check_devices(function, args, given)
    check_generator(on_gpu, kwargs.get("generator"))
    if not (shelled or on_gpu):
        return function(*args, **kwargs)
    inside = _held(args)
    named = {name: _held(one) for name, one in kwargs.items()}
    if asked is not None:
        named["device"] = torch.device("cpu")
    result = function(*inside, **named)
    if not on_gpu:
        return result
    # What was changed in place comes back as the shell that it has already.
    known = {id(one.held): one for one in given if isinstance(one, OnGpu)}

    def shell(one):
        return known[id(one)] if id(one) in known else OnGpu(one)

    result = _each(result, torch.Tensor, shell)
    if torch.Tag.inplace_view in function.tags:  # the shell's own shape changes too
        return return_and_correct_aliasing(function, args, kwargs, result)
    return result


def _each(value, kind, change):
    """An argument or a result with all of a kind changed; it is one, or a list of them."""
    if isinstance(value, list | tuple):
        each = [_each(one, kind, change) for one in value]
        return each if isinstance(value, list) else tuple(each)
    return change(value) if isinstance(value, kind) else value


def check_devices(function, args, given):
    """Refuse tensors of two devices, but for copies, indices and single numbers of the CPU."""
    if any(one.device == INSIDE for one in given):
        raise NotImplementedError(f"the pretended GPU does not know how {function} got a tensor")
    if function in MOVES or not any(isinstance(one, OnGpu) for one in given):
        return
    if function in INDEXING:
        indexed, indices, *values = args
        if not isinstance(indexed, OnGpu) and any(isinstance(one, OnGpu) for one in indices):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
            )
        given = [one for one in (indexed, *values) if isinstance(one, torch.Tensor)]
    written = args[:1] if function._schema.is_mutable else ()
    numbers = torch.Tag.pointwise in function.tags or function in INDEXING
    for one in given:
        number = numbers and one.ndim == 0 and not any(one is other for other in written)
        if not (isinstance(one, OnGpu) or number):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! ({function})"
            )


def check_generator(on_gpu, generator):
    """Refuse to draw on one device with the generator of the other."""
    if on_gpu and generator is not None and generator.device.type != "cuda":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def _moved(module, *how, apply=nn.Module._apply, **more):
    """A module moved; its parameters stay the same objects, as they would, and become shells."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return apply(module, *how, **more)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within, torch sees one GPU."""
    with (
        mock.patch.multiple(torch.cuda, **CUDA),
        # Optimisers ask what the accelerator's stream is doing; there is none.
        mock.patch.object(ACCELERATOR, "is_available", lambda: False, create=True),
        mock.patch.object(nn.Module, "_apply", _moved),
        _Asked(),
        _Computed(),
    ):
        yield
