"""The pretended GPU refuses what a real one refuses, computes what the CPU computes, and goes."""

import copy

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pretended_gpu import pretended_gpu
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

TWO_DEVICES = "Expected all tensors to be on the same device"
NO_NUMPY = "can't convert cuda:0 device type tensor to numpy"


@pytest.fixture(autouse=True)
def gpu():
    with pretended_gpu():
        yield


@pytest.fixture
def there():
    return torch.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda")


HERE = torch.tensor([[10.0, 20.0], [30.0, 40.0]])

MADE = {
    "tensor": lambda: torch.tensor([1.0, 2.0], device="cuda"),
    "as_tensor of one there": lambda: torch.as_tensor(HERE.to("cuda"), dtype=torch.float64),
    "as_tensor of an array": lambda: torch.as_tensor(np.ones(2), device="cuda:0"),
    "zeros": lambda: torch.zeros(2, 3, device=torch.device("cuda")),
    "arange": lambda: torch.arange(4, device="cuda"),
    "zeros_like": lambda: torch.zeros_like(HERE, device="cuda"),
    "ones_like of one there": lambda: torch.ones_like(HERE.to("cuda")),
    "new_zeros of one there": lambda: HERE.to("cuda").new_zeros(2),
    "randn": lambda: torch.randn(3, device="cuda"),
    "to": lambda: HERE.to("cuda"),
    "to(device=)": lambda: HERE.to(device="cuda", dtype=torch.float64),
    "to another's": lambda: HERE.double().to(HERE.to("cuda")),
    "cuda": lambda: HERE.cuda(),
    "arithmetic": lambda: 1 - HERE.to("cuda") / 2,
    "a view": lambda: HERE.to("cuda")[:, 1],
    "a copy": lambda: copy.deepcopy(HERE.to("cuda")),
}

REFUSED = {
    "a sum": lambda x: x + HERE,
    "a sum the other way round": lambda x: HERE + x,
    "in place": lambda x: x.add_(HERE),
    "in place on the CPU": lambda x: HERE.clone().add_(x),
    "a number in place on the CPU": lambda x: torch.tensor(1.0).add_(x.sum()),
    "a number there with many here": lambda x: x.sum() * HERE,
    "a product": lambda x: x @ HERE,
    "a product with a number": lambda x: torch.dot(x[0], HERE[0]),
    "cat": lambda x: torch.cat([x, HERE]),
    "stack of numbers": lambda x: torch.stack([x.sum(), HERE.sum()]),
    "where": lambda x: torch.where(HERE > 20, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(HERE > 20, 0.0),
    "index_select": lambda x: x.index_select(0, torch.tensor([1])),
    "put in": lambda x: x.__setitem__(torch.tensor([0]), HERE[:1]),
    "equal": lambda x: torch.equal(x, HERE),
    "allclose": lambda x: torch.allclose(x, HERE),
    "conv2d": lambda x: F.conv2d(x[None, None], torch.ones(1, 1, 1, 1)),
    "a layer": lambda x: nn.Linear(2, 2)(x),
    "out=": lambda x: torch.add(x, x, out=torch.empty(2, 2)),
}

ALLOWED = {
    "a number of Python's": lambda x: x + 10,
    "a number on the CPU": lambda x: x + HERE[0, 0],
    "indices on the CPU": lambda x: x[torch.tensor([1, 0])],
    "a mask on the CPU": lambda x: x[HERE > 20],
    "an index put in": lambda x: x.clone().index_put_((torch.tensor([0]),), torch.tensor(5.0)),
    "an index by lists": lambda x: x[[1, 0], (0, 1)],
    "a list put in": lambda x: put(x.clone(), ([1, 0], [0, 1]), x[0] * 7),
    "a number put in by a mask": lambda x: put(x.clone(), x > 2, 5.0),
    "a slice of the CPU copied in": lambda x: x.clone().copy_(HERE),
}


def put(x, index, value):
    x[index] = value
    return x


def test_torch_sees_one_gpu():
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 1
    assert torch.cuda.get_device_name("cuda:0") == "a pretended GPU"
    assert 0 < torch.cuda.mem_get_info()[0] <= torch.cuda.mem_get_info()[1]
    torch.cuda.synchronize()


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_is_made_there_is_there(make):
    assert make().device == torch.device("cuda:0")
    assert make().is_cuda
    assert make().cpu().device == torch.device("cpu")
    assert type(make().cpu()) is torch.Tensor


def test_it_computes_what_the_cpu_computes(there):
    x = HERE.to("cuda")
    assert_close((there @ x).cpu(), torch.tensor([[70.0, 100.0], [150.0, 220.0]]))
    assert there.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert (there.sum().item(), int(there.argmax()), f"{there.mean():.1f}") == (10.0, 3, "2.5")
    assert bool((there < 5).all())
    assert torch.tensor([there[0, 1], there.sum()]).tolist() == [2.0, 10.0]
    assert torch.as_tensor(there, device="cpu").tolist() == there.tolist()
    assert torch.as_tensor(there).tolist() == there.tolist()


def test_what_is_written_to_a_view_is_seen_in_the_whole(there):
    there[0].mul_(10)
    there[1, 0] = -1
    there += 1
    assert there.tolist() == [[11.0, 21.0], [0.0, 5.0]]
    assert there.unsqueeze_(0).shape == (1, 2, 2)


@pytest.mark.parametrize("mix", REFUSED.values(), ids=REFUSED)
def test_two_devices_in_one_operation_are_refused(there, mix):
    with pytest.raises(RuntimeError, match=TWO_DEVICES):
        mix(there)


@pytest.mark.parametrize("mix", ALLOWED.values(), ids=ALLOWED)
def test_what_a_real_one_allows_is_allowed(there, mix):
    assert mix(there).device.type == "cuda"
    assert_close(mix(there).cpu(), mix(there.cpu()))


def test_the_cpu_takes_a_copy_but_no_index_from_there(there):
    assert_close(HERE.clone().copy_(there), there.cpu())
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"):
        HERE[torch.tensor([1], device="cuda")]


def test_numpy_and_matplotlib_get_nothing_from_there(there):
    for convert in (lambda x: x.numpy(), np.asarray, np.abs, Figure().subplots().imshow):
        with pytest.raises(TypeError, match=NO_NUMPY):
            convert(there)
    with pytest.raises(TypeError, match=NO_NUMPY):
        Figure().subplots().plot([0, 1], there[0])


def test_a_generator_of_the_cpu_does_not_draw_there(there):
    generator = torch.Generator()
    for draw in (
        lambda: torch.rand(2, generator=generator, device="cuda"),
        lambda: torch.randperm(4, generator=generator, device="cuda"),
        lambda: there.normal_(generator=generator),
    ):
        with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
            draw()


def test_a_network_moves_there_and_back_with_its_parameters(small_network):
    x = torch.randn(2, 3, 12, 16)
    with torch.no_grad():
        expected = small_network.eval()(x)
    before = dict(small_network.named_parameters())
    small_network.to("cuda", memory_format=torch.channels_last)
    assert {t.device.type for t in (*before.values(), *small_network.buffers())} == {"cuda"}
    after = dict(small_network.named_parameters())
    assert all(after[name] is before[name] for name in before)
    assert all(isinstance(parameter, nn.Parameter) for parameter in after.values())
    with torch.no_grad():
        assert_close(small_network(x.to("cuda")).cpu(), expected)
        with pytest.raises(RuntimeError, match=TWO_DEVICES):
            small_network(x)
        small_network.load_state_dict({k: v.cpu() for k, v in small_network.state_dict().items()})
        assert_close(copy.deepcopy(small_network)(x.to("cuda")).cpu(), expected)
        assert_close(torch.fx.symbolic_trace(small_network)(x.to("cuda")).cpu(), expected)
        assert_close(small_network.cpu()(x), expected)


def test_gradients_are_the_cpus_through_layers_hooks_and_functions(small_network):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    def gradients(network, x):
        seen = []

        def watch(layer, inputs, output):
            output.register_hook(seen.append)

        handle = network[0].register_forward_hook(watch)
        x = x.clone().requires_grad_()
        network(Doubled.apply(x))[:, 1].sum().backward()
        handle.remove()
        return x.grad, seen[0], network[0].weight.grad

    x = torch.randn(2, 3, 12, 16)
    twin = copy.deepcopy(small_network).eval().to("cuda")
    for here, there in zip(
        gradients(small_network.eval(), x), gradients(twin, x.to("cuda")), strict=True
    ):
        assert there.device.type == "cuda"
        assert_close(there.cpu(), here)


def test_a_step_of_adam_is_the_cpus(there):
    ends = []
    for w in (there.cpu().requires_grad_(), there.clone().requires_grad_()):
        adam = torch.optim.Adam([w], lr=0.1)
        for _ in range(3):
            adam.zero_grad()
            (w**2).sum().backward()
            adam.step()
        ends.append(w.detach().cpu())
    assert_close(*ends)


def test_an_error_leaves_nothing_of_it():
    apply = nn.Module._apply
    with pytest.raises(ZeroDivisionError), pretended_gpu():
        raise ZeroDivisionError
    assert nn.Module._apply is apply
    assert not torch.__future__.get_swap_module_params_on_conversion()
