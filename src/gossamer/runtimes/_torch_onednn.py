"""Products with what stands around them as oneDNN's kernels, int8 between Q and DQ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - as torch's own documents call it
from torch import Tensor

from gossamer.runtimes._torch_node import Kernel, Node
from gossamer.runtimes._torch_qdq import dequantize

INT8 = torch.ops.onednn  # what TorchInductor itself calls for int8 on CPUs


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """Several nodes as one kernel."""

    kernel: Kernel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The one scale and zero point of a stored activation."""

    scale: float
    zero: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """A weight as it is stored, with a scale for each output channel."""

    stored: Tensor
    scales: Tensor
    zeros: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Ends:
    """What stands around a product: its constants, and what the kernel does behind it.

    Attributes:
        bias: In float.
        relu: Whether negative results become 0.
        out: How the result is stored; None leaves it in float32.
    """

    bias: Tensor | None
    relu: bool = False
    out: Scale | None = None

    @property
    def stored(self) -> tuple[float, int, torch.dtype]:
        """Scale, zero point and type of the result."""
        if self.out is None:
            return 1.0, 0, torch.float32
        return self.out.scale, self.out.zero, torch.uint8

    @property
    def behind(self) -> tuple[str, list[float], str]:
        """Name, numbers and algorithm of what follows the product, as the kernels take them."""
        return "relu" if self.relu else "none", [], ""


class _Graph:
    """Who makes and who reads each value."""

    def __init__(self, nodes: Sequence[Node], known: Mapping[str, Tensor], kept: set[str]) -> None:
        self.known = known
        self.maker = {name: node for node in nodes for name in node.outputs}
        self.readers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        bodies = [n for n in nodes if n.op in {"If", "Loop"}]
        # a value that a body may read stays as it is
        self.kept = set(self.maker) if bodies else kept

    def made_by(self, name: str, op: str) -> Node | None:
        """The node that makes a value, if it is of that operator."""
        node = self.maker.get(name)
        return node if node is not None and node.op == op else None

    def sole_reader(self, name: str) -> Node | None:
        """The only reader of a value that is no output."""
        found = self.readers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.kept else None

    def constant(self, name: str) -> Tensor | None:
        """A value without inputs: an initializer, or a dequantized one."""
        node = self.made_by(name, "DequantizeLinear")
        if node is None or node.inputs[0] not in self.known:
            return self.known.get(name)
        parts = [self.known.get(n) if n else None for n in node.inputs]
        return None if parts[1] is None else dequantize(node)(*parts)

    def activation(self, name: str) -> tuple[str, Scale] | None:
        """The stored u8 value behind a dequantized one."""
        node = self.made_by(name, "DequantizeLinear")
        if node is None or node.inputs[0] in self.known:
            return None
        scale = _scale(node, self.known)
        return None if scale is None else (node.inputs[0], scale)

    def weight(self, name: str, axis: int) -> Weight | None:
        """A symmetric s8 weight with scales along `axis`, or one for all."""
        node = self.made_by(name, "DequantizeLinear")
        if node is None or node.get("block_size", 0):
            return None
        stored, scales = self.known.get(node.inputs[0]), self.known.get(node.inputs[1])
        zeros = self.known.get(node.inputs[2]) if node.has(2) else None
        if stored is None or scales is None or stored.dtype != torch.int8:
            return None
        is_along = scales.numel() == 1 or node.get("axis", 1) % stored.dim() == axis
        if not is_along or (zeros is not None and bool(zeros.any())):
            return None
        each = scales.reshape(-1).expand(stored.shape[axis]).float().contiguous()
        return Weight(stored=stored, scales=each, zeros=torch.zeros(len(each), dtype=torch.int32))


def fuse(
    nodes: Sequence[Node], known: Mapping[str, Tensor], outputs: set[str]
) -> list[Node | Fused]:
    """The nodes, in order, with int8 kernels in the places of those that they stand for.

    A product is one if its input comes from u8 with one scale, its weight is symmetric s8. A bias,
    a Relu and a QuantizeLinear behind it go in if nobody else reads what is in front of them.
    """
    graph = _Graph(nodes, known, outputs)
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return list(nodes)
    gone: set[int] = set()
    found: dict[int, Fused] = {}
    for node in nodes:
        match = _MATCHES.get(node.op)
        made = match(node, graph) if match is not None else None
        if made is not None:
            kernel, taken, last = made
            gone.update(map(id, taken))
            found[id(taken[-1])] = Fused(kernel=kernel, inputs=(last,), outputs=taken[-1].outputs)
    kept = [found.get(id(n), n) for n in nodes if id(n) in found or id(n) not in gone]
    return _without_unread(kept, outputs)


def _without_unread(nodes: list[Node | Fused], outputs: set[str]) -> list[Node | Fused]:
    """Without the dequantizations whose only readers are int8 kernels now."""
    if any(isinstance(n, Node) and n.op in {"If", "Loop"} for n in nodes):
        return nodes
    read = {name for n in nodes for name in n.inputs} | outputs
    return [
        n
        for n in nodes
        if not (isinstance(n, Node) and n.op == "DequantizeLinear" and n.outputs[0] not in read)
    ]


Match = tuple[Kernel, list[Node], str]


def _conv(node: Node, graph: _Graph) -> Match | None:
    """A Conv over images, in int8 or in float."""
    bias = graph.constant(node.inputs[2]) if node.has(2) else None
    pads = node.get("pads") or [0] * 4
    is_plain = node.get("auto_pad", "NOTSET") in {"NOTSET", "VALID"} and pads[:2] == pads[2:]
    if not is_plain or len(pads) != 4 or (node.has(2) and bias is None):
        return None
    source, weight = graph.activation(node.inputs[0]), graph.weight(node.inputs[1], 0)
    if source is not None and weight is not None and weight.stored.dim() == 4:
        value, numbers = source
        ends, taken = _behind(node, graph, bias)
        return _int8_conv(node, weight, numbers, ends), taken, value
    floats = graph.constant(node.inputs[1])
    if floats is None or floats.dtype != torch.float32 or floats.dim() != 4:
        return None
    ends, taken = _behind(node, graph, bias, stores=False)
    return _float_conv(node, floats, ends), taken, node.inputs[0]


def _window(node: Node) -> tuple[list[int], list[int], list[int], int]:
    """Strides, padding, dilations and groups."""
    return (
        list(node.get("strides") or [1, 1]),
        list(node.get("pads") or [0] * 4)[:2],
        list(node.get("dilations") or [1, 1]),
        int(node.get("group", 1)),
    )


def _int8_conv(node: Node, weight: Weight, numbers: Scale, ends: Ends) -> Kernel:
    window = _window(node)
    packed = INT8.qconv_prepack(
        weight.stored, weight.scales, numbers.scale, numbers.zero, *window, None
    )
    rest = (
        *(numbers.scale, numbers.zero, packed, weight.scales, weight.zeros, ends.bias),
        *(*window, *ends.stored, *ends.behind),
    )
    return lambda x: INT8.qconv_pointwise(x, *rest)


def _float_conv(node: Node, weight: Tensor, ends: Ends) -> Kernel:
    """Torch's own, channels last: 1.2 to 2 times as fast as in the order of ONNX.

    Five sizes of ResNet-20 and ResNet-50 at batch 1, one thread (torch 2.13.0, 2026-11-23).
    """
    strides, pads, dilations, groups = _window(node)
    last = weight.contiguous(memory_format=torch.channels_last)

    def run(x: Tensor) -> Tensor:
        out = F.conv2d(x, last, ends.bias, strides, pads, dilations, groups)
        return out.relu_() if ends.relu else out

    return run


def _linear(node: Node, graph: _Graph) -> Match | None:
    """MatMul, or a Gemm that is one with a bias."""
    is_turned = bool(node.get("transB", 0))
    source = graph.activation(node.inputs[0])
    weight = graph.weight(node.inputs[1], 0 if is_turned else 1)
    is_plain = node.get("alpha", 1.0) == node.get("beta", 1.0) == 1.0 and not node.get("transA", 0)
    if source is None or weight is None or weight.stored.dim() != 2 or not is_plain:
        return None
    bias = graph.constant(node.inputs[2]) if node.has(2) else None
    if node.has(2) and (bias is None or bias.numel() != len(weight.scales)):
        return None
    members = [node]
    adding = graph.sole_reader(node.outputs[0])
    if bias is None and adding is not None and adding.op in {"Add", "Sum"}:
        bias = _added(adding, node.outputs[0], graph, len(weight.scales))
        members += [] if bias is None else [adding]
    value, numbers = source
    ends, behind = _behind(members[-1], graph, None if bias is None else bias.reshape(-1))
    stored = weight.stored if is_turned else weight.stored.t().contiguous()
    turned = Weight(stored=stored, scales=weight.scales, zeros=weight.zeros)
    return _linear_kernel(turned, numbers, ends), [*members[:-1], *behind], value


def _linear_kernel(weight: Weight, numbers: Scale, ends: Ends) -> Kernel:
    packed = INT8.qlinear_prepack(weight.stored, None)
    rest = (
        *(numbers.scale, numbers.zero, packed, weight.scales, weight.zeros, ends.bias),
        *(*ends.stored, *ends.behind),
    )
    return lambda x: INT8.qlinear_pointwise(x, *rest)


def _added(adding: Node, value: str, graph: _Graph, size: int) -> Tensor | None:
    """The bias that an Add brings: a constant row as long as the product's."""
    if len(adding.inputs) != 2 or adding.inputs[0] == adding.inputs[1]:
        return None
    other = graph.constant(next(name for name in adding.inputs if name != value))
    is_row = other is not None and other.numel() == size == other.shape[-1]
    return other if is_row else None


def _behind(
    node: Node, graph: _Graph, bias: Tensor | None, *, stores: bool = True
) -> tuple[Ends, list[Node]]:
    """What follows a product that its kernel can do too, and the nodes that go with it."""
    taken, relu = [node], False
    after = graph.sole_reader(node.outputs[0])
    if after is not None and after.op == "Relu":
        taken, relu = [*taken, after], True
        after = graph.sole_reader(after.outputs[0])
    out = None
    if stores and after is not None and after.op == "QuantizeLinear":
        out = _scale(after, graph.known)
        taken += [] if out is None else [after]
    return Ends(bias=None if bias is None else bias.float(), relu=relu, out=out), taken


def _scale(node: Node, known: Mapping[str, Tensor]) -> Scale | None:
    """Scale and zero point of a Q or DQ of u8 with one of each."""
    scale, zero = known.get(node.inputs[1]), known.get(node.inputs[2]) if node.has(2) else None
    if scale is None or zero is None or scale.numel() != 1 or zero.dtype != torch.uint8:
        return None
    return Scale(scale=float(scale), zero=int(zero))


_MATCHES: dict[str, Callable[[Node, _Graph], Match | None]] = {
    "Conv": _conv,
    "MatMul": _linear,
    "Gemm": _linear,
}
