"""Forward passes of pictures that differ in a window from one picture, without computing all anew.

A change inside a window reaches only a part of each of the first layers. That part is computed
for many windows at once; what it reads around itself is taken from the activations of the
unchanged picture. Where the part has grown to nearly the whole layer, it is pasted into the
unchanged activations, and the rest of the network runs as usual. Nothing is approximated.

A residual block counts as one layer: a change goes through both branches, and their sum changes
where either does.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from labkit.engine.windows import Slide, Spans

ROUNDINGS = 16  # that a network may differ by from itself, in another order of its sums
NEARLY_ALL = 0.7  # share of a layer's outputs, beyond which the whole layer costs no more

# Layers that see one place at a time (in eval mode).
PLACEWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish),
    *(nn.Sigmoid, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d),
)
OWN_KINDS = (nn.Conv2d, nn.BatchNorm2d)  # whose descendants are looked into, see `_known`
ADDITIONS = (operator.add, torch.add)  # += is traced as +
Sliding = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
Branch = list[tuple[Sliding, list[nn.Module]]]  # each with the placewise layers behind it


@dataclass(frozen=True)
class Place:
    """A place in the network where the rest can take over."""

    maps: Tensor  # [h, w, C], of the unchanged picture
    # Of maps [N, C, h, w]; at the start the model itself, within a residual block what follows it.
    rest: Callable[[Tensor], object]


@dataclass(frozen=True)
class Change:
    """Where n changed pictures differ from the unchanged one, at one place in the network."""

    values: Tensor  # [n, h, w, C]
    rows: Spans  # n spans of length h
    columns: Spans  # n spans of length w


@dataclass(frozen=True)
class Stage:
    """A convolution or pooling with the placewise layers behind it, and what it reads."""

    layers: nn.Module  # without padding
    rows: Slide
    columns: Slide
    padded: Tensor  # [h, w, C], the input for the unchanged picture
    after: Place

    def reached(self, rows: Spans, columns: Spans) -> tuple[Spans, Spans]:
        """Rows and columns of the outputs that a change of the input reaches."""
        return self.rows.outputs_of(rows), self.columns.outputs_of(columns)

    def carry(self, change: Change) -> Change:
        """The change behind this stage; see `carried`."""
        rows, columns = self.reached(change.rows, change.columns)
        inputs = crops(self.padded, self.rows.inputs_of(rows), self.columns.inputs_of(columns))
        tops = self.rows.offsets(change.rows, rows)
        lefts = self.columns.offsets(change.columns, columns)
        paste(inputs, change.values, tops, lefts)
        outputs = self.layers(inputs.permute(0, 3, 1, 2))  # [n, C, h, w]
        return Change(outputs.permute(0, 2, 3, 1), rows, columns)


@dataclass(frozen=True)
class Residual:
    """Two branches that read one place, and the placewise layers behind their sum."""

    branches: tuple[list[Stage], list[Stage]]  # one may have no stages, a shortcut
    layers: nn.Module
    before: Tensor  # [h, w, C], the input for the unchanged picture
    after: Place

    def reached(self, rows: Spans, columns: Spans) -> tuple[Spans, Spans]:
        """Rows and columns of the outputs that a change of the input reaches."""
        one, other = (_reached(branch, rows, columns) for branch in self.branches)
        height, width = self.after.maps.shape[:2]
        return Spans.holding(one[0], other[0], height), Spans.holding(one[1], other[1], width)

    def carry(self, change: Change) -> Change:
        """The change behind this block; see `carried`."""
        rows, columns = self.reached(change.rows, change.columns)
        one, other = (self._carried(branch, change, rows, columns) for branch in self.branches)
        outputs = self.layers((one + other).permute(0, 3, 1, 2))  # [n, C, h, w]
        return Change(outputs.permute(0, 2, 3, 1), rows, columns)

    def _carried(self, branch: list[Stage], change: Change, rows: Spans, columns: Spans) -> Tensor:
        """`[n, h, w, C]`, behind a branch, of these rows and columns."""
        for stage in branch:
            change = stage.carry(change)
        if (change.rows, change.columns) == (rows, columns):
            return change.values
        values = crops(branch[-1].after.maps if branch else self.before, rows, columns)
        tops = map(operator.sub, change.rows.starts, rows.starts)
        lefts = map(operator.sub, change.columns.starts, columns.starts)
        paste(values, change.values, tops, lefts)
        return values


def _reached(stages: Sequence[Stage], rows: Spans, columns: Spans) -> tuple[Spans, Spans]:
    for stage in stages:
        rows, columns = stage.reached(rows, columns)
    return rows, columns


def crops(maps: Tensor, rows: Spans, columns: Spans) -> Tensor:
    """`[n, h, w, C]`, cut out of maps `[H, W, C]`."""
    return torch.stack([maps[r, c] for r, c in zip(rows.slices, columns.slices, strict=True)])


def paste(maps: Tensor, patches: Tensor, tops: Iterable[int], lefts: Iterable[int]) -> None:
    """Overwrite a part of each of the maps `[n, H, W, C]` with its patch `[n, h, w, C]`."""
    h, w = patches.shape[1:3]
    for one, patch, top, left in zip(maps, patches, tops, lefts, strict=True):
        one[top : top + h, left : left + w] = patch


def carried(
    start: Place, stages: Sequence[Stage | Residual], change: Change
) -> tuple[Place, Change]:
    """Take a change through the first stages, as long as that saves something.

    Args:
        start: the unchanged picture, and the network.
        stages: with which the network begins.
        change: of the picture.

    Returns:
        The place up to which it was taken, and the change there.
    """
    place = start
    for stage in stages:
        rows, columns = stage.reached(change.rows, change.columns)
        if rows.length * columns.length > NEARLY_ALL * stage.after.maps[..., 0].numel():
            break
        place, change = stage.after, stage.carry(change)
    return place, change


def pasted(place: Place, change: Change, batch_size: int) -> Iterator[Tensor]:
    """Whole maps `[N, C, h, w]` of the changed pictures, batch by batch."""
    for first in range(0, len(change.values), batch_size):
        part = slice(first, first + batch_size)
        values = change.values[part]
        maps = place.maps.repeat(len(values), 1, 1, 1)
        paste(maps, values, change.rows.starts[part], change.columns.starts[part])
        yield maps.permute(0, 3, 1, 2)


def stages_of(model: Callable[[Tensor], object], image: Tensor) -> list[Stage | Residual]:
    """The stages with which a network begins, for one picture; none where nothing can be saved.

    They end where the network branches otherwise than in a residual block, or at a layer that is
    no plain convolution, pooling or placewise layer. Use it with the network in eval mode and
    without gradients.

    Args:
        model: a network, or any other function of images, which has no stages.
        image: `[C, H, W]`, the unchanged picture.
    """
    if not isinstance(model, nn.Module) or not all(map(_is_plain, model.modules())):
        return []
    network = _trace(model)
    stages = [] if network is None else _record(network, image[None])
    return stages if stages and _agrees(stages[-1].after, model, image) else []


def _agrees(place: Place, model: nn.Module, image: Tensor) -> bool:
    """Whether the rest of the traced network says what the network says."""
    expected = model(image[None].clone())  # a first layer may work in place
    try:
        logits = place.rest(place.maps.permute(2, 0, 1)[None].clone())
        within = ROUNDINGS * torch.finfo(expected.dtype).eps * expected.abs().max().item()
        return isinstance(logits, Tensor) and torch.allclose(logits, expected, rtol=0, atol=within)
    except Exception:  # as where the tracer took an optional argument for given
        return False


def _is_plain(module: nn.Module) -> bool:
    """Nobody watches or replaces what the module does, or computes its weights."""
    watched = module._forward_hooks or module._forward_pre_hooks or is_parametrized(module)
    return not watched and "forward" not in vars(module)


class _Tracer(fx.Tracer):
    """Follows a network, and the hooks that its forward pass itself puts on layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OWN_KINDS) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict[str, object]
    ) -> object:
        output = super().call_module(m, forward, args, kwargs)
        if self.is_leaf_module(m, self.path_of_module(m)):
            for hook in m._forward_hooks.values():
                replaced = hook(m, args, output)
                output = output if replaced is None else replaced
        return output


def _trace(model: nn.Module) -> fx.Interpreter | None:
    """The steps of the network, if they do not depend on the picture."""
    try:
        twin = copy.copy(model)  # shares all layers; the tracer leaves constants on it
        return fx.Interpreter(fx.GraphModule(twin, _Tracer().trace(twin)))
    except Exception:  # whatever a forward pass may do that a stand-in for images cannot
        return None


class _Rest(nn.Module):
    """A network behind its first layers."""

    def __init__(self, network: fx.Interpreter, done: Sequence[fx.Node]) -> None:
        super().__init__()
        self.network, self.done = network, tuple(done)

    def forward(self, maps: Tensor) -> Tensor:
        return self.network.run(initial_env=dict.fromkeys(self.done, maps))


def _record(network: fx.Interpreter, images: Tensor) -> list[Stage | Residual]:
    """Run the picture `[1, C, H, W]` through the first layers and keep what each stage reads."""
    stages: list[Stage | Residual] = []
    stage: Stage | Residual | None
    for group in _grouped(network):
        rest = _Rest(network, group.done)
        if isinstance(group.head, nn.Module):
            stage, images = _stage(group.head, group.behind, images, rest)
        else:
            stage, images = _residual(group.head, group.behind, images, rest)
        if stage is None:
            break
        stages.append(stage)
    return stages


def _stage(
    head: Sliding, behind: Sequence[nn.Module], images: Tensor, rest: _Rest
) -> tuple[Stage | None, Tensor]:
    """The stage, None if a layer does more than its kind, and the picture `[1, C, h, w]` behind."""
    layers: list[Any] = []
    outputs = images
    for layer in (head, *behind):
        if (known := _known(layer, outputs)) is None:
            return None, images
        outputs = nn.Sequential(*known)(outputs)
        layers += known
    margins = layers.pop(0).padding if type(layers[0]) is nn.ZeroPad2d else (0, 0, 0, 0)
    slides, *behind = layers
    rows, columns = _slides(slides, margins, images.shape[2:], outputs.shape[2:])
    stage = Stage(
        nn.Sequential(_unpadded(slides), *behind),
        rows,
        columns,
        _channels_last(_padded(slides, images, rows, columns)),
        Place(_channels_last(outputs), rest),
    )
    return stage, outputs


def _known(layer: nn.Module, images: Tensor) -> list[nn.Module] | None:
    """The plain layers that make up a layer of somebody's own kind; None where it does more.

    They are a padding with zeros and the convolution, or the batch norm and the layers within it.
    The layer must call the same functions of torch, with the same settings and the same result.
    """
    if type(layer) in OWN_KINDS or not isinstance(layer, OWN_KINDS):
        return [layer]
    plain = copy.copy(layer)
    plain.__class__ = next(kind for kind in OWN_KINDS if isinstance(layer, kind))
    outputs, calls = _told(layer, images)
    if isinstance(layer, nn.BatchNorm2d):
        chain = [plain, *layer.children()]
    else:
        chain = [*(nn.ZeroPad2d(call[1][0]) for call in calls[:1] if call[0] is F.pad), plain]
    expected, same = _told(nn.Sequential(*chain), images)
    return chain if calls == same and torch.equal(outputs, expected) else None


def _told(layer: nn.Module, images: Tensor) -> tuple[Tensor, list[tuple]]:
    """What a layer says of the images, and what it has torch compute, less the tensors."""
    own = images.clone()  # the layer may work in place
    with _Calls() as told:
        return layer(own), told.calls


class _Calls(TorchFunctionMode):
    """Keeps each function called and its settings; those that are 0, None or False are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            named = {k: v for k, v in (kwargs or {}).items() if not isinstance(v, Tensor) and v}
            self.calls.append((func, [v for v in args if not isinstance(v, Tensor)], named))
        return output


def _residual(
    heads: Sequence[Branch], behind: Sequence[nn.Module], images: Tensor, rest: _Rest
) -> tuple[Residual | None, Tensor]:
    """The block, None if it is not just a sum, and the picture behind it.

    It is none where its branches differ in shape, or a layer does more than its kind.
    """
    branches: tuple[list[Stage], list[Stage]] = ([], [])
    ends = []
    for layers, stages in zip(heads, branches, strict=True):
        outputs = images
        for head, placewise in layers:
            stage, outputs = _stage(head, placewise, outputs, rest)
            if stage is None:
                return None, images
            stages.append(stage)
        ends.append(outputs)
    if ends[0].shape != ends[1].shape:  # the smaller one would be repeated
        return None, images
    then = nn.Sequential(*behind)
    outputs = then(ends[0] + ends[1])
    place = Place(_channels_last(outputs), rest)
    return Residual(branches, then, _channels_last(images), place), outputs


@dataclass(frozen=True)
class _Group:
    """The layers of a stage, and all steps that are done behind it."""

    head: Sliding | tuple[Branch, Branch]
    behind: tuple[nn.Module, ...]  # placewise
    done: tuple[fx.Node, ...]


def _grouped(network: fx.Interpreter) -> list[_Group]:
    """The layers with which the network begins, stage by stage."""
    groups: list[_Group] = []
    done: tuple[fx.Node, ...] = (next(iter(network.graph.nodes)),)  # the images
    while done[-1].users:
        user, *others = done[-1].users
        layer = None if others else _layer(network, done[-1], user)
        if len(others) == 1 and (fork := _fork(network, done[-1])):
            branches, steps = fork
            groups.append(_Group(branches, (), (*done, *steps)))
        elif layer is not None and _is_sliding(layer):
            groups.append(_Group(layer, (), (*done, user)))
        elif groups and layer is not None and _is_placewise(layer):
            groups[-1] = _Group(groups[-1].head, (*groups[-1].behind, layer), (*done, user))
        else:
            break
        done = groups[-1].done
    return groups


def _fork(
    network: fx.Interpreter, node: fx.Node
) -> tuple[tuple[Branch, Branch], list[fx.Node]] | None:
    """Both branches of a residual block that begins behind a step, and its steps."""
    (one, nodes, total), (other, more, same) = (_branch(network, node, user) for user in node.users)
    added = total is same and total.target in ADDITIONS
    if not added or len(total.args) != 2 or total.kwargs:
        return None
    return (one, other), [*nodes, *more, total]


def _branch(
    network: fx.Interpreter, node: fx.Node, user: fx.Node
) -> tuple[Branch, list[fx.Node], fx.Node]:
    """The layers of a chain, its steps, and the step behind them."""
    groups: Branch = []
    nodes: list[fx.Node] = []
    while (layer := _layer(network, node, user)) is not None:
        if _is_sliding(layer):
            groups.append((layer, []))
        elif groups and _is_placewise(layer):
            groups[-1][1].append(layer)
        else:
            break
        nodes.append(user)
        if len(user.users) != 1:
            break
        node, user = user, next(iter(user.users))
    return groups, nodes, user


def _layer(network: fx.Interpreter, node: fx.Node, user: fx.Node) -> nn.Module | None:
    """The layer that a step is, if it reads another step and nothing else."""
    if user.op != "call_module" or user.args != (node,) or user.kwargs:
        return None
    return network.fetch_attr(str(user.target))


def _is_sliding(layer: nn.Module) -> TypeGuard[Sliding]:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros"
    if type(layer) is nn.MaxPool2d:
        return not layer.return_indices
    if type(layer) is nn.AvgPool2d and not layer.ceil_mode:
        # An average over fewer places at the border would need the border's own divisor.
        return layer.count_include_pad or layer.padding in (0, (0, 0))
    return False


def _is_placewise(layer: nn.Module) -> bool:
    # Without running statistics, batch norm looks at the whole batch even in eval mode.
    if isinstance(layer, nn.BatchNorm2d):
        return layer.running_mean is not None and all(map(_is_placewise, layer.children()))
    return type(layer) in PLACEWISE


def _slides(
    layer: Sliding, margins: tuple[int, ...], size_in: torch.Size, size_out: torch.Size
) -> list[Slide]:
    """How the layer slides along rows and along columns, behind margins of zeros."""
    settings = zip(
        _pair(layer.kernel_size),
        _pair(layer.stride),
        map(operator.add, _padding(layer), margins[2::-2]),  # left, right, top, bottom
        _pair(getattr(layer, "dilation", 1)),
        size_in,
        size_out,
        strict=True,
    )
    return [Slide(*axis) for axis in settings]


def _padding(layer: Sliding) -> tuple[int, ...]:
    if isinstance(layer, nn.Conv2d) and layer.padding == "same":
        reach = zip(layer.kernel_size, layer.dilation, strict=True)
        return tuple((kernel - 1) * dilation // 2 for kernel, dilation in reach)
    return (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding)  # "valid"


def _pair(setting: int | tuple[int, ...]) -> tuple[int, ...]:
    return (setting, setting) if isinstance(setting, int) else setting


def _padded(layer: Sliding, images: Tensor, rows: Slide, columns: Slide) -> Tensor:
    """What the layer reads: outside the picture zeros, or nothing that could be a maximum."""
    outside = -torch.inf if type(layer) is nn.MaxPool2d else 0.0
    margins = [
        margin
        for axis in (columns, rows)  # F.pad begins with the last dimension
        for margin in (axis.padding, axis.padded_size - axis.padding - axis.size_in)
    ]
    return F.pad(images, margins, value=outside)


def _unpadded(layer: Sliding) -> nn.Module:
    """A twin, with the same weights, that takes its input as it stands."""
    twin = copy.copy(layer)
    twin.padding = (0, 0)
    if not isinstance(twin, nn.Conv2d):
        twin.ceil_mode = False
    return twin


def _channels_last(maps: Tensor) -> Tensor:
    """`[1, C, h, w]` as `[h, w, C]`."""
    return maps[0].permute(1, 2, 0).contiguous()
