"""What int8 gains or loses at each site of a model on this machine, by timing its kernels."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from gossamer import plugins, store
from gossamer.costs import Costs, KernelCost, Machine
from gossamer.errors import BuildError, GossamerError, OutputError
from gossamer.graph.pieces import (
    Piece,
    Shapes,
    conversion_model,
    float_model,
    int8_model,
    nothing_model,
    pieces,
    shorten,
    wanted_shapes,
)
from gossamer.graph.place import Wish, place
from gossamer.graph.profit import Prices, cheapest, lost, prices
from gossamer.graph.select import kept_float
from gossamer.measure.environment import environment
from gossamer.measure.isolate import Isolated
from gossamer.measure.kernels import ROUNDS, strayed, time_kernels
from gossamer.run import fused, save

if TYPE_CHECKING:
    from gossamer.plan import Plan
    from gossamer.progress import Progress
    from gossamer.runtime import Feed
    from gossamer.source import FloatModel
    from gossamer.target import TargetSpec

SIZES = tuple(1 << n for n in range(10, 23, 2))  # elements of the conversions that are timed
SHAPES = "ort"  # the runtime that tells shapes: it knows the operators of every target
PACKAGES = {"ort": "onnxruntime"}
NOTHING, TWIN = "nothing", "nothing again"
SECONDS_PER_BLOCK = 0.08  # of a small model, with the rest that it comes to behind
SECONDS_PER_FILE = 0.15  # to make, write and open it


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is profiled.

    Attributes:
        model: The opened source.
        target: Name of the target.
        feed: What the model is made fast for.
        cpu: Weakest CPU level on which the result must be right.
        exclude: Nodes that stay in float anyway.
        threads: Threads of the runtime.
        cache: Folder where costs are kept; None where nothing is to be timed.
    """

    model: FloatModel
    target: str
    feed: Feed
    cpu: str
    exclude: Sequence[str]
    threads: int
    cache: Path | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """The sites of one model on one target, and what they cost here.

    Attributes:
        asked: What was profiled.
        costs: What was measured, now and before.
        signatures: Of every site that has a kernel of its own.
        prices: Of these sites.
        in_int8: The sites that run in int8 where everything together takes least time.
        slow: Why the others stay in float, one clause each.
        able: Sites that have an int8 kernel.
        ruled: Sites that the target's own rules store.
        seconds: How long measuring took; 0 where all was known.
    """

    asked: Asked
    costs: Costs
    signatures: Mapping[str, str]
    prices: Prices
    in_int8: frozenset[str]
    slow: Mapping[str, str]
    able: frozenset[str]
    ruled: frozenset[str]
    seconds: float

    def totals(self) -> dict[str, int]:
        """Nanoseconds of all that was timed and its conversions, under four placements."""
        chosen = {
            "float32": frozenset[str](),
            "uniform": self.able,
            "ruled": self.ruled,
            "cheapest": self.in_int8,
        }
        return {name: self.prices.total(sites) for name, sites in chosen.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """A model's kernels before they are timed.

    Attributes:
        asked: What is profiled.
        graph: The float graph on the target.
        able: The plan in which everything that has an int8 kernel runs in it.
        wise: The plan by the target's own rules.
        shapes: Of values, when the model is fed `asked.feed`.
        costs: What is known from before.
        missing: One piece of every signature that is not.
    """

    asked: Asked
    graph: ir.Model
    able: Plan
    wise: Plan
    shapes: Shapes
    costs: Costs
    missing: tuple[Piece, ...]

    @property
    def expected_seconds(self) -> float:
        """How long measuring will take, about."""
        files = 2 * len(self.missing) + (2 if self.missing else 0)
        files += 0 if self.costs.quantize else 2 * len(SIZES)
        return files * (ROUNDS * SECONDS_PER_BLOCK + SECONDS_PER_FILE)


def survey(asked: Asked, progress: Progress) -> Survey:
    """What must be measured for a model.

    Raises:
        RecipeError: A selector of `exclude` matches nothing.
        BuildError: The float graph of the target does not run.
    """
    spec: TargetSpec = plugins.load("targets", asked.target)
    model = fused(asked.model, asked.target)
    wish = Wish(cpu=asked.cpu, exclude=kept_float(model.graph, asked.exclude, ()))
    able = place(model, spec, replace(wish, is_uniform=True))
    here = machine(spec, asked.threads)
    costs, shapes = Costs(machine=here), dict[str, tuple[int, ...]]()
    if asked.cache is not None:
        costs = known(asked.cache, here, progress)
        shapes = dict(observed_shapes(model, wanted_shapes(model.graph, able), asked))
    fresh = {
        p.signature: p
        for p in pieces(model.graph, able, shapes)
        if p.signature not in costs.kernels
    }
    return Survey(
        asked=asked,
        graph=model,
        able=able,
        wise=place(model, spec, wish),
        shapes=shapes,
        costs=costs,
        missing=tuple(fresh.values()),
    )


def measured(found: Survey, progress: Progress) -> Profile:
    """The profile of a model; what had to be measured for it is kept in the cache.

    Raises:
        BuildError: The process of the kernels ended.
        StorageError: The cache cannot be written.
    """
    started, asked, costs = time.monotonic(), found.asked, found.costs
    is_known = not found.missing and costs.quantize
    if not is_known:
        costs = _timed(found, progress)
        if asked.cache is not None:
            keep(asked.cache, costs)
    graph = found.graph.graph
    priced = prices(graph, found.able, found.wise, found.shapes, costs)
    in_int8 = cheapest(priced)
    return Profile(
        asked=asked,
        costs=costs,
        signatures={p.decision.site: p.signature for p in pieces(graph, found.able, found.shapes)},
        prices=priced,
        in_int8=in_int8,
        slow=_slow(found, priced, in_int8),
        able=frozenset(d.site for d in found.able.quantized),
        ruled=frozenset(d.site for d in found.wise.quantized),
        seconds=0.0 if is_known else time.monotonic() - started,
    )


def machine(spec: TargetSpec, threads: int) -> Machine:
    """This machine, for a target."""
    here = environment(threads)
    package = PACKAGES.get(spec.runtime, spec.runtime)
    return Machine(
        target=spec.name,
        runtime=f"{package} {dict(here.versions).get(package, 'of unknown version')}",
        cpu=here.cpu,
        flags=here.flags,
        threads=threads,
    )


def cost_file(cache: Path, where: Machine) -> Path:
    """Where the costs of a machine are kept."""
    text = json.dumps(where.dump(), sort_keys=True)
    return cache / f"{where.target}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def known(cache: Path, where: Machine, progress: Progress) -> Costs:
    """The costs that are kept of a machine; none where the file is damaged or of another one."""
    path = cost_file(cache, where)
    if not path.exists():
        return Costs(machine=where)
    try:
        return Costs.parse(json.loads(path.read_text(encoding="utf-8")), where)
    except (OutputError, ValueError, OSError) as error:
        progress.note(f"{path} is not used, and will be replaced: {error}")
        return Costs(machine=where)


def keep(cache: Path, costs: Costs) -> None:
    """Write the costs of a machine.

    Raises:
        StorageError: The folder cannot be written.
    """
    path = cost_file(cache, costs.machine)
    with store.told_apart(cache):
        store.write_text(path, json.dumps(costs.dump(), indent=1))


def observed_shapes(model: ir.Model, names: Iterable[str], asked: Asked) -> Shapes:
    """The shapes of values in one run of the float graph, operators of the target included."""
    tapped = model.clone()
    graph = tapped.graph
    values = {v.name: v for v in (*graph.inputs, *(o for n in graph for o in n.outputs))}
    outputs: dict[str, str] = {}
    graph.outputs.clear()
    for i, name in enumerate(n for n in names if n in values):
        node = ir.node("Shape", [values[name]], name=f"gossamer.shape.{i}")
        out = node.outputs[0]
        out.name, out.type = f"gossamer.shape.{i}", ir.TensorType(ir.DataType.INT64)
        graph.append(node)
        graph.outputs.append(out)
        outputs[out.name] = name
    if not outputs:
        return {}
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        path = Path(scratch) / "shapes.onnx"
        save(tapped, path)
        with Isolated(SHAPES, path, threads=asked.threads) as session:
            found = session.run(asked.feed)
    return {outputs[name]: tuple(int(d) for d in shape) for name, shape in found.items()}


def _timed(found: Survey, progress: Progress) -> Costs:
    """The costs with all that was missing."""
    costs, asked = found.costs, found.asked
    runtime = plugins.load("targets", asked.target).runtime
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        folder = Path(scratch)
        names = _write(found, folder)
        progress.stage("time kernels", ROUNDS * len(names))
        times = time_kernels(
            runtime, folder, names, threads=asked.threads, advance=progress.advance
        )
    if not {f"{NOTHING}.onnx", f"{TWIN}.onnx"} <= times.keys():
        raise BuildError(
            "a runtime that opens ONNX graphs of single operators",
            f"{runtime}, which refused them",
            "Leave it out with --target: kernels are timed for ort-cpu and openvino-cpu.",
        )
    kernels = {
        p.signature: KernelCost(
            float32=times.get(f"{i}.float.onnx", ()), int8=times.get(f"{i}.int8.onnx", ())
        )
        for i, p in enumerate(found.missing)
    }
    quantize = {n: times[f"q{n}.onnx"] for n in SIZES if f"q{n}.onnx" in times}
    dequantize = {n: times[f"d{n}.onnx"] for n in SIZES if f"d{n}.onnx" in times}
    overhead, twin = times[f"{NOTHING}.onnx"], times[f"{TWIN}.onnx"]
    return replace(
        costs,
        kernels={**costs.kernels, **kernels},
        quantize=quantize or costs.quantize,
        dequantize=dequantize or costs.dequantize,
        overhead=overhead,
        noise_floor=strayed(overhead, twin),
    )


def _write(found: Survey, folder: Path) -> list[str]:
    """Write what is to be timed; the names of the files."""
    models = {NOTHING: nothing_model(), TWIN: nothing_model()}
    if not found.costs.quantize:
        models |= {f"q{n}": conversion_model(n, is_quantizing=True) for n in SIZES}
        models |= {f"d{n}": conversion_model(n, is_quantizing=False) for n in SIZES}
    for name, model in models.items():
        save(model, folder / f"{name}.onnx")
    names = [f"{name}.onnx" for name in models]
    for i, piece in enumerate(found.missing):
        for kind in ("float", "int8"):
            name = f"{i}.{kind}.onnx"
            try:
                made = (
                    float_model(piece, found.graph, found.shapes)
                    if kind == "float"
                    else int8_model(piece, found.graph, found.shapes, found.able)
                )
            except GossamerError:
                continue  # a piece that cannot be stored is one that was not measured
            save(shorten(made), folder / name)
            names.append(name)
    return names


def _slow(found: Survey, priced: Prices, in_int8: frozenset[str]) -> dict[str, str]:
    """Why sites that have an int8 kernel stay in float."""
    by_rule = {d.site: d.detail for d in found.wise.decisions}
    told = {}
    for decision in found.able.quantized:
        site = decision.site
        if site in in_int8 or site in priced.moving:
            continue
        if site not in priced.kernels:
            told[site] = f"not measured; {by_rule.get(site, 'the target has no rule for it')}"
            continue
        float32, int8 = lost(priced, in_int8, site)
        times = f"{int8 / float32:.2f} times as long" if float32 else "longer"
        told[site] = (
            f"int8 takes {times} here, with its conversions ({int8:.3g} against {float32:.3g} ms)"
        )
    return told
