"""Quantization-aware training, from a module to the model that `compress` and `run` make int8.

prepared = prepare(module, example, batches, Aim(target="ort-cpu"))
attachment = QuantizeAware().attach(module, optimizer, spots=prepared.spots)
...the training...
attachment.detach()
save(attachment, example, "trained.onnx")
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer import plugins
from gossamer.errors import TrainingError
from gossamer.step import Calibration, GraphContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import onnx_ir as ir
    from torch import Tensor, nn

    from gossamer.graph.steps.quantize_static import QuantizeStatic
    from gossamer.plan import Plan
    from gossamer.progress import Progress
    from gossamer.runtime import Feed
    from gossamer.source import ModuleExample
    from gossamer.spot import Spots
    from gossamer.target import TargetSpec
    from gossamer.train.techniques.quantize_aware import FakeQuantization

SAMPLES = 128
ROWS = 2  # of the samples that are compared in module and graph
MASK = "attention_mask"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """What a training with fake quantization needs to know.

    Attributes:
        spots: Where the module is to be fake-quantized, and what cannot be.
        plan: What the target runs in int8.
        folded: Paths of the BatchNorms that were folded.
    """

    spots: Spots
    plan: Plan
    folded: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """Where the int8 file will run, and how it is made.

    Attributes:
        target: Public name of the target.
        cpu: Weakest CPU level on which it must be right.
        step: What stays in float, ranges to start from, bits; None for the defaults.
        samples: Of the data, that starting ranges are chosen from.
        threads: That the graph runs on for it.
    """

    target: str = "ort-cpu"
    cpu: str = "portable"
    step: QuantizeStatic | None = None
    samples: int = SAMPLES
    threads: int = 1


def prepare(
    module: nn.Module,
    example: ModuleExample,
    batches: Callable[[], Iterable[Mapping[str, Tensor]]],
    aim: Aim = Aim(),
    progress: Progress | None = None,
) -> Prepared:
    """Where to fake-quantize `module`, whose BatchNorms are folded in place and which is in eval.

    Make the optimizer afterwards: folding adds biases and takes parameters of BatchNorms away.

    Args:
        module: Trained in float.
        example: What it is exported with; its numbers do not matter.
        batches: Gives batches of training data, by the names of the example's inputs; other names,
            such as labels, are left out.
        aim: What for.
        progress: Is told of every sample that calibrates.

    Raises:
        TrainingError: There is no data, or a BatchNorm cannot be folded.
        ExportError: The module cannot be exported.
        TargetError: The target has no int8 kernels for stored activations.
        CalibrationError: The data holds NaN or Inf, or the graph has nothing to quantize.
    """
    from gossamer.export.spots import find_spots
    from gossamer.export.to_graph import to_graph
    from gossamer.graph.steps.fuse import Fuse
    from gossamer.graph.steps.quantize_static import QuantizeStatic, parameters
    from gossamer.graph.steps.simplify import Simplify
    from gossamer.train.fold import fold_batch_norms

    names = tuple(example.inputs)
    first = next(iter(batches()), None)
    if first is None or not set(names) <= set(first):
        received = "no batch" if first is None else f"batches of {', '.join(sorted(first))}"
        raise TrainingError(f"batches of training data with {', '.join(names)}", received)
    module.eval()
    inputs = {name: first[name][:ROWS] for name in names}
    folded = fold_batch_norms(module, inputs)
    target: TargetSpec = plugins.load("targets", aim.target)
    exported = to_graph(module, example)
    feeds = _Feeds(batches=batches, names=names, is_masked=MASK in example.sequence)
    calibration = _calibration(exported, feeds, aim, progress)
    context = GraphContext(
        target=target, cpu=aim.cpu, calibration=calibration, record=lambda _: None
    )
    graph = Fuse().apply(Simplify().apply(exported, context), context)
    step = aim.step or QuantizeStatic()
    plan, statistics = step.calibrated(graph, context)
    numbers = parameters(plan, statistics, step.ranges, {})
    spots = find_spots(module, inputs, plan, graph, numbers)
    return Prepared(spots=spots, plan=plan, folded=folded)


def save(attachment: FakeQuantization, example: ModuleExample, path: str | Path) -> None:
    """Write what was trained as a float ONNX file, with the weights that int8 stores.

    The file carries the ranges: `gossamer compress`, and every recipe with `simplify` and
    `quantize-static`, store its values and weights with just these.

    Args:
        attachment: Detached, its model in eval mode.
        example: As it was prepared with.
        path: Of the file.

    Raises:
        TrainingError: It is still attached.
        ExportError: The module cannot be exported, or the file computes something else.
        StorageError: The file cannot be written.
    """
    from gossamer.export.to_graph import check_graph
    from gossamer.export.trained import trained_graph
    from gossamer.run import save as write

    rounded, file = attachment.rounded().eval(), Path(path)
    write(trained_graph(rounded, example, attachment.ranges()), file)
    check_graph(rounded, example, file)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Feeds:
    """Samples of batches, one by one, without padding at their ends."""

    batches: Callable[[], Iterable[Mapping[str, Tensor]]]
    names: tuple[str, ...]
    is_masked: bool

    def __call__(self) -> Iterator[Feed]:
        for batch in self.batches():
            arrays = {name: batch[name].detach().cpu().numpy() for name in self.names}
            for row in range(len(arrays[self.names[0]])):
                feed = {name: x[row : row + 1] for name, x in arrays.items()}
                if self.is_masked:
                    length = int(feed[MASK][0].nonzero()[0].max(initial=0)) + 1
                    width = feed[MASK].shape[1]
                    feed = {
                        name: x[:, :length] if x.ndim > 1 and x.shape[1] == width else x
                        for name, x in feed.items()
                    }
                yield feed


def _calibration(
    exported: ir.Model, feeds: _Feeds, aim: Aim, progress: Progress | None
) -> Calibration:
    import onnx_ir as ir

    from gossamer.graph.calibrate import collect
    from gossamer.graph.passes.simplify import simplify
    from gossamer.graph.taps import Wanted

    plain = simplify(ir.from_proto(ir.to_proto(exported)))
    known = {v.name for v in (*plain.graph.inputs, *(o for n in plain.graph for o in n.outputs))}
    return Calibration(
        statistics=lambda values: collect(
            plain,
            Wanted(values=tuple(v for v in values if v in known)),
            feeds,
            samples=aim.samples,
            threads=aim.threads,
            progress=progress,
        ),
        feeds=lambda: itertools.islice(feeds(), aim.samples),
    )
