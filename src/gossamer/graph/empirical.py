"""Empirical bias correction: biases take back the mean by which a whole quantized prefix is off.

Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D. Site by site in data order, the
bias of each output channel y_c gets E[y_c] of the float model minus E[y_c] of the quantized one,
whose earlier biases are corrected already: that holds rounded and cut off activations too, which
the analytic correction (`bias`) knows nothing of. A shift is never more than `LARGEST` standard
deviations of y_c, so that a few samples cannot do harm.

Every node of the quantized graph runs once for each sample: sites that do not depend on each other
are corrected together, the graph is cut behind them, and what the rest reads is kept in between.
A correction is the same number everywhere in a channel, so what was kept gets it by an addition.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer import store
from gossamer.errors import CalibrationError
from gossamer.graph.bias import bias
from gossamer.graph.child import RUNTIME_THREADS, Child, serving
from gossamer.graph.match import constant
from gossamer.graph.rescale import makers
from gossamer.graph.weights import BIAS_LIMIT, constant_input
from gossamer.plan import Plan

if TYPE_CHECKING:
    from gossamer.runtime import Feed

RUNTIME = "ort"  # of the process that runs models here
SAMPLES = 64  # up to twice as many, spread over all
LIMIT = 256 << 20  # bytes that are kept at a cut; samples that are too many are let go
LARGEST = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A bias that can be corrected, and what is behind it in the float model.

    Attributes:
        node: Name of the node that adds the bias.
        index: As which of its inputs.
        axis: Of the channels in its output.
        means: Of each channel in each sample, `[samples, channels]`.
        deviation: Standard deviation of each channel over all samples.
    """

    node: str
    index: int
    axis: int
    means: NDArray[np.float64]
    deviation: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What the float model makes of some samples.

    Attributes:
        samples: Inputs.
        sites: Every bias that can be corrected.
    """

    samples: tuple[Feed, ...]
    sites: tuple[Site, ...]


def observe(
    model: ir.Model,
    plan: Plan,
    feeds: Iterable[Feed],
    factors: Mapping[str, NDArray[np.float32]],
) -> Reference:
    """What lies behind the biases of the plan's sites, in the float model.

    Args:
        model: It; is only read.
        plan: Placement of that model.
        feeds: The calibration samples.
        factors: What each smoothed value will come multiplied by: what is behind the bias of its
            maker then is, too.

    Raises:
        CalibrationError: No samples, NaN or Inf behind a bias, or the model does not run.
    """
    samples = _spread(feeds)
    nodes = {node.name: node for node in model.graph}
    scales = dict(_scales(model.graph, plan, factors))
    found = {}
    for decision in plan.quantized:
        adder, index = bias(nodes[decision.site]) if decision.weight is not None else (None, 0)
        tensor = constant(adder.inputs[index]) if adder is not None else None
        if adder is None or tensor is None or tensor.size != tensor.shape[-1]:
            continue
        axis = 1 if decision.op == "Conv" else -1
        moments = _Moments(
            node=adder.name or "", index=index, axis=axis, scale=scales.get((adder, index))
        )
        found[adder.outputs[0].name or ""] = moments
    with serving(model, found) as child:
        for feed in samples:
            for name, value in (child.values(list(found), feed) if found else {}).items():
                found[name].take(value)
    return Reference(samples=samples, sites=tuple(moments.site() for moments in found.values()))


def correct(model: ir.Model, reference: Reference, runtime: str) -> None:
    """Shift the biases of the quantized `model`, in place.

    Args:
        model: What `qdq.write` made of the model that was observed, without other corrections.
        reference: What was observed.
        runtime: For which it was made. ONNX Runtime runs it here, and what is not for itself
            without its int8 kernels, in float between Q and DQ: of signed activations at opset 21
            it otherwise fuses what it then refuses.

    Raises:
        CalibrationError: The model does not run.
    """
    graph = model.graph
    nodes = {node.name: node for node in graph}
    sites = {nodes[site.node].outputs[0].name or "": site for site in reference.sites}
    steps = _steps(graph, sites)
    kept: list[Feed] = [dict(feed) for feed in reference.samples]
    with tempfile.TemporaryDirectory(prefix="gossamer-") as name:
        folder = Path(name)
        with Child(folder / "child.log") as child:
            for step in steps:
                with store.told_apart(folder):
                    ir.save(_segment(model, step, kept[0]), folder / "segment.onnx")
                options = {"threads": RUNTIME_THREADS, "fuses": runtime == RUNTIME}
                child.open(folder / "segment.onnx", options)
                kept = _advanced(child, step, kept)
                for value in step.corrected:
                    site = sites[value]
                    shift = _shift(site, [feed[value] for feed in kept])
                    _move(graph, nodes[site.node], site.index, shift)
                    for feed in kept:
                        feed[value] = _moved(feed[value], shift, site.axis)


@dataclass(kw_only=True, slots=True)
class _Moments:
    """What comes out behind a bias, sample by sample, where channels will be multiplied."""

    node: str
    index: int
    axis: int
    scale: NDArray[np.float32] | None
    means: list[NDArray[np.float64]] = field(default_factory=list)
    squares: list[NDArray[np.float64]] = field(default_factory=list)

    def take(self, value: NDArray[np.generic]) -> None:
        self.means.append(_mean(value, self.axis))
        self.squares.append(_mean(np.square(value.astype(np.float64)), self.axis))
        if not np.isfinite(self.squares[-1]).all():
            raise CalibrationError(
                f"finite numbers behind {self.node!r}",
                "NaN or Inf for a calibration sample",
                "Repair or remove that sample.",
            )

    def site(self) -> Site:
        means = np.stack(self.means)
        variance = np.mean(self.squares, axis=0) - np.square(means.mean(axis=0))
        scale = np.float32(1) if self.scale is None else self.scale
        return Site(
            node=self.node,
            index=self.index,
            axis=self.axis,
            means=means * scale,
            deviation=np.sqrt(np.maximum(variance, 0)) * scale,
        )


@dataclass(kw_only=True, slots=True)
class _Step:
    """A part of the graph that runs at once.

    Attributes:
        inputs: Names of values that it reads from before.
        outputs: Names of values that it makes for later.
        corrected: Those of them that sites make.
        later: Names of all values that are read after it.
    """

    inputs: dict[str, None] = field(default_factory=dict)
    outputs: dict[str, None] = field(default_factory=dict)
    corrected: list[str] = field(default_factory=list)
    later: set[str] = field(default_factory=set)


def _scales(
    graph: ir.Graph, plan: Plan, factors: Mapping[str, NDArray[np.float32]]
) -> Iterator[tuple[tuple[ir.Node, int], NDArray[np.float32]]]:
    """The biases that will take factors in, each as an input of its node, and the factors."""
    for node in graph:
        for value in node.outputs:
            if value.name in plan.rescaled and value.name in factors:
                for part in makers(value, frozenset(plan.values)):
                    yield (part.node, part.index), factors[value.name]


def _spread(feeds: Iterable[Feed]) -> tuple[Feed, ...]:
    """`SAMPLES` or more, fewer than twice as many, evenly spread; all if there are few.

    Raises:
        CalibrationError: There are none.
    """
    kept: list[Feed] = []
    step = 1
    for i, feed in enumerate(feeds):
        if i % step == 0:
            kept.append(feed)
        if len(kept) == 2 * SAMPLES:
            kept, step = kept[::2], 2 * step
    if not kept:
        raise CalibrationError("at least one calibration sample", "none", "Give some data.")
    return tuple(kept)


def _steps(graph: ir.Graph, sites: Mapping[str, Site]) -> list[_Step]:
    """The parts up to the last site, each with the sites that need only those of parts before."""
    ready: dict[str, int] = {v.name or "": 0 for v in graph.inputs}  # in which part it can be read
    made: dict[str, int] = {v.name or "": -1 for v in graph.inputs}
    reads: list[tuple[int, str]] = []
    for node in graph:
        names = [name for name in _read(node) if name in ready]
        level = max((ready[name] for name in names), default=0)
        reads += [(level, name) for name in names]
        for value in node.outputs:
            name = value.name or ""
            made[name], ready[name] = level, level + (name in sites)
    steps = [_Step() for _ in range(1 + max((made[name] for name in sites), default=-1))]
    for name in sites:
        steps[made[name]].outputs[name] = None
        steps[made[name]].corrected.append(name)
    for level, name in reads:
        if level >= len(steps) or made[name] == level:
            continue
        steps[level].inputs[name] = None
        if made[name] >= 0:
            steps[made[name]].outputs[name] = None
        for step in steps[:level]:
            step.later.add(name)
    return steps


def _read(node: ir.Node) -> Iterator[str]:
    """Names of the values that a node reads, those within its branches and bodies among them."""
    yield from (v.name or "" for v in node.inputs if v is not None)
    for attribute in node.attributes.values():
        graphs = attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else ()
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = (attribute.as_graph(),)
        for graph in graphs:
            for inner in graph:
                yield from _read(inner)


def _segment(model: ir.Model, step: _Step, sample: Feed) -> ir.Model:
    """One part as a model of its own."""
    graph = ir.convenience.extract(model.graph, tuple(step.inputs), tuple(step.outputs))
    for value in graph.inputs:
        value.type = ir.TensorType(ir.DataType.from_numpy(sample[value.name or ""].dtype))
    return ir.Model(graph, ir_version=model.ir_version)


def _advanced(child: Child, step: _Step, kept: list[Feed]) -> list[Feed]:
    """What is kept of each sample behind a part; of as many as there is room for."""
    found: list[Feed] = []
    room = LIMIT
    while kept:
        feed = kept.pop(0)
        made = child.values(list(step.outputs), {name: feed[name] for name in step.inputs})
        after = {name: x for name, x in feed.items() if name in step.later} | made
        room -= sum(x.nbytes for x in after.values())
        if found and room < 0:
            break
        found.append(after)
    return found


def _shift(site: Site, values: list[NDArray[np.generic]]) -> NDArray[np.float32]:
    """What the bias of a site lacks."""
    means = np.stack([_mean(value, site.axis) for value in values])
    shift = (site.means[: len(means)] - means).mean(axis=0)
    bound = LARGEST * site.deviation
    return np.asarray(np.clip(shift, -bound, bound), np.float32)


def _move(graph: ir.Graph, adder: ir.Node, index: int, shift: NDArray[np.float32]) -> None:
    """Add to a bias, whether it is stored in float or in int32."""
    old = adder.inputs[index]
    assert old is not None  # it was there before
    source, place = (adder, index) if constant(old) is not None else (old.producer(), 0)
    assert source is not None
    stored = source.inputs[place]
    tensor = constant(stored)
    assert stored is not None
    assert tensor is not None  # `qdq.write` puts nothing else there
    array = tensor.numpy()
    if source is adder:
        content = array + shift.reshape(array.shape)
    else:
        scale = constant(source.inputs[1])
        assert scale is not None
        steps = np.rint(shift.astype(np.float64) / scale.numpy())
        content = np.clip(array + steps, -BIAS_LIMIT, BIAS_LIMIT).astype(array.dtype)
    name = f"{stored.name}_{adder.name}_shifted"
    source.replace_input_with(place, constant_input(graph, name, content))
    if not stored.uses() and not stored.is_graph_output():
        del graph.initializers[stored.name or ""]


def _mean(value: NDArray[np.generic], axis: int) -> NDArray[np.float64]:
    """Of each channel."""
    channels = np.moveaxis(value, axis, 0)
    found: NDArray[np.float64] = channels.reshape(len(channels), -1).mean(axis=1, dtype=np.float64)
    return found


def _moved(
    value: NDArray[np.generic], shift: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    """A value with a number added to each channel."""
    shape = [1] * value.ndim
    shape[axis] = -1
    return value.astype(np.float32) + shift.reshape(shape)
