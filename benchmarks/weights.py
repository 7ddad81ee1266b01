"""Weights of few bits: their cost in perplexity, their gain in speed, the memory to make them.

    python -m benchmarks.weights perplexity speed memory

`perplexity`: stories260k (of the real models) with 4-bit weights in groups of 32 by every rounding,
calibrated on the odd stories and judged on the even ones in ONNX Runtime.
`speed`: a GPT-2 with random weights, one token behind 128 others, float32 and its quantized files
in turns on both runtimes.
`memory`: GPTQ on a made-up model of 4 GiB, whose weights lie beside it on disk.

One JSON line for each row; it replaces the one of this name in results/weights.json.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from benchmarks import kept
from benchmarks.peers import openvino_and_nncf

from gossamer import plugins
from gossamer.graph.roundings.gptq import Gptq
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_weights import QuantizeWeights
from gossamer.graph.steps.simplify import Simplify
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.measure import Contender, measure_latency
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import NO_DATA, run, save
from gossamer.runtime import Feed
from gossamer.search.prepare import installed_targets
from gossamer.source import FloatModel
from gossamer.sources import find
from gossamer.step import Calibration, GraphContext

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "weights.json"
REAL = HERE.parent.parent / "shared" / "real"
CALIBRATION = 128  # stories
LAYERS, HEADS, WIDTH, PAST = 12, 12, 768, 128  # GPT-2, and how many tokens came before
# with its defaults, and helped: it refuses the 172 inputs of a layer unless told to adjust
NNCF = {"nncf": (False, False), "nncf+": (True, False), "nncf+ awq": (True, True)}
FLOAT = ir.TensorType(ir.DataType.FLOAT)
WAYS = {"4 bits": QuantizeWeights(bits=4), "8 bits": QuantizeWeights(bits=8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+", choices=ROWS)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each file, timed in turns")
    arguments = parser.parse_args()
    for name in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            row = {"row": name, **ROWS[name](arguments, Path(folder))}
        machine = environment(physical_cores())
        row |= {"cpu": machine.cpu, "flags": machine.flags, "threads": machine.threads}
        kept.keep(RESULTS, row, ("row",))


def perplexity(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Of float32, and of every rounding at 4 bits in groups of 32."""
    stories = kept.scorer(arguments.real).stories
    calibration = [{"input_ids": x} for x, _ in stories("calibrate")][:CALIBRATION]
    test = list(stories("test"))
    model = find(str(arguments.real / "stories260k" / "stories260k.onnx")).open(folder)
    found: dict[str, Any] = {"float32": {"perplexity": _perplexity(model.path, test)}}
    refused: dict[str, str] = {}
    steps = {
        name: QuantizeWeights(rounding=plugins.load("roundings", name)())
        for name in plugins.names("roundings")
    }
    steps["nearest, activation-aware"] = QuantizeWeights(activation_aware=True)
    steps["gptq, activation-aware"] = QuantizeWeights(rounding=Gptq(), activation_aware=True)
    for name, step in steps.items():
        begin = time.perf_counter()
        path = made(model, step, "ort-cpu", folder / name, calibration)
        seconds = time.perf_counter() - begin
        found[name] = {"perplexity": _perplexity(path, test), "seconds": round(seconds, 1)}
    for name, (is_helped, is_aware) in NNCF.items():
        data = calibration if is_aware else None
        try:
            path = by_nncf(model.path, folder / f"{name}.onnx", data, is_helped=is_helped)
            found[name] = {"perplexity": _perplexity(path, test)}
        except Exception as error:  # whatever a peer raises is what its user gets
            refused[name] = " ".join(str(error).split())[:300]
    lost = {n: f["perplexity"] - found["float32"]["perplexity"] for n, f in found.items()}
    for name, entry in found.items():
        entry["perplexity"] = round(entry["perplexity"], 4)
        entry["lost"] = round(lost[name], 4)
        entry["of_nearest"] = round(lost[name] / lost["nearest"], 3)
    return {"tokens": sum(len(y) for _, y in test), "roundings": found, "refused": refused}


def by_nncf(path: Path, out: Path, samples: list[Feed] | None, *, is_helped: bool) -> Path:
    """4-bit weights in groups of 32 by NNCF, which wants opset 21; AWQ where there are samples."""
    import onnx

    _, nncf = openvino_and_nncf()
    more: dict[str, Any] = {}
    if is_helped:
        mode = nncf.GroupSizeFallbackMode.ADJUST
        more["advanced_parameters"] = nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=mode
        )
    if samples is not None:
        more |= {"dataset": nncf.Dataset(samples), "awq": True}
    found = nncf.compress_weights(
        onnx.version_converter.convert_version(onnx.load(path), 21),
        mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=32, ratio=1.0, all_layers=True, **more,
    )  # fmt: skip
    onnx.save(found, out)
    return out


def speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tokens in a second at batch 1, and how many times those of float32 on the same runtime."""
    model = find(str(gpt2(folder / "gpt2.onnx"))).open(folder)
    shape = (LAYERS, 2, 1, HEADS, PAST, WIDTH // HEADS)
    past = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    feed: Feed = {"input_ids": np.array([[7]]), "past": past}
    found: dict[str, Any] = {}
    for target in installed_targets((), "portable"):
        spec = plugins.load("targets", target)
        files = {"float32": made(model, None, target, folder / target / "float32")}
        files["fused"] = made(model, Fuse(), target, folder / target / "fused")
        for name, step in WAYS.items():
            files[name] = made(model, step, target, folder / target / name)
        contenders = [
            Contender(name=n, runtime=spec.runtime, path=p, precision="f32")
            for n, p in files.items()
        ]
        timed = measure_latency(
            contenders, feed, threads=physical_cores(), seconds=arguments.seconds
        )
        found[target] = {
            name: {
                "tokens_per_second": round(1 / timed.latencies[name].median, 1),
                "times_float32": round(timed.ratios[name].value, 2),
                "interval": [round(timed.ratios[name].low, 2), round(timed.ratios[name].high, 2)],
                "megabytes": round(sum(p.stat().st_size for p in path.parent.iterdir()) / 1e6),
            }
            for name, path in files.items()
        }
        found[target]["noise_floor"] = round(timed.noise_floor, 3)
    return {"past": PAST, "targets": found}


def memory(_: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Largest sum of anonymous memory of this process and its children, and what is allowed.

    From the model on disk to the file on disk; the runtime that then loads it needs its own.
    """
    layers, inputs, outputs, tokens = 64, 1024, 16384, (8, 128)
    path = layered(folder / "large.onnx", layers, inputs, outputs)
    random = np.random.default_rng(0)
    calibration: list[Feed] = [
        {"x": random.standard_normal((1, tokens[1], inputs)).astype(np.float32)}
        for _ in range(tokens[0])
    ]
    between = folder / "between"
    between.mkdir()
    context = GraphContext(
        target=plugins.load("targets", "ort-cpu"),
        cpu="portable",
        calibration=Calibration(statistics=NO_DATA.statistics, feeds=lambda: iter(calibration)),
        record=lambda _: None,
        folder=between,
    )
    with Watch() as watch:
        begin = time.perf_counter()
        graph = ir.load(path)
        for step in (Simplify(), Fuse(), QuantizeWeights(rounding=Gptq())):
            graph = step.apply(graph, context)
        save(graph, folder / "out" / "model.onnx")
        seconds = time.perf_counter() - begin
    block = inputs * outputs * 4
    cached = math.prod(tokens) * (inputs + outputs) * 4
    allowed = 2 * block + inputs**2 * 4 + cached + 300_000_000
    return {
        "float_bytes": layers * block,
        "seconds": round(seconds),
        "file_bytes": sum(p.stat().st_size for p in (folder / "out").iterdir()),
        "peak_anonymous_bytes": watch.peak,
        "allowed_bytes": allowed,
    }


ROWS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "perplexity": perplexity,
    "speed": speed,
    "memory": memory,
}


def made(
    model: FloatModel,
    step: QuantizeWeights | Fuse | None,
    target: str,
    folder: Path,
    samples: list[Feed] | None = None,
) -> Path:
    """The file that the step gives, behind simplification and fusion; the float file without."""
    steps = () if step is None else (Simplify(), Fuse(), step)
    recipe = Recipe(target=target, graph_steps=steps[:2] if isinstance(step, Fuse) else steps)
    known = Calibration(statistics=NO_DATA.statistics, feeds=lambda: iter(samples or ()))
    folder.parent.mkdir(parents=True, exist_ok=True)
    return run(model, recipe, folder, known, Silent()).path


def gpt2(path: Path) -> Path:
    """GPT-2 (124 million random weights) with the keys and values of earlier tokens as an input."""
    import torch
    import transformers
    from transformers.cache_utils import DynamicCache

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, attn_implementation="eager"
    )

    class WithPast(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.GPT2LMHeadModel(config)

        def forward(
            self, input_ids: torch.Tensor, past: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            cache = DynamicCache([(keys, values) for keys, values in past])
            found = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True)
            layers = [torch.stack([x.keys, x.values]) for x in found.past_key_values.layers]
            return found.logits, torch.stack(layers)

    example = (
        torch.zeros(1, 3, dtype=torch.long),
        torch.zeros(LAYERS, 2, 1, HEADS, 5, WIDTH // HEADS),
    )
    program = torch.onnx.export(
        WithPast().eval(),
        example,
        dynamo=True,
        dynamic_shapes=({0: "batch", 1: "sequence"}, {2: "batch", 4: "past_sequence"}),
        input_names=["input_ids", "past"],
        output_names=["logits", "present"],
        verbose=False,
    )
    assert program is not None  # dynamo=True gives one
    program.save(path)
    return path


def layered(path: Path, layers: int, inputs: int, outputs: int) -> Path:
    """A model of wide layers on disk, each the sum of its parts and of its input."""
    fold = np.array([0, 0, outputs // inputs, inputs])
    axis, shape = np.array([2]), ir.Shape(["b", "n", inputs])
    graph = ir.Graph(
        [ir.Value(name="x", shape=shape, type=FLOAT)], [], nodes=[], opset_imports={"": 18},
        name="wide",
    )  # fmt: skip
    data = path.with_suffix(".bin")
    value = graph.inputs[0]
    shared = [
        _initializer(graph, ir.Tensor(a, name=n)) for n, a in (("fold", fold), ("axis", axis))
    ]
    random = np.random.default_rng(0)
    with data.open("wb") as file:
        for i in range(layers):
            offset = file.tell()
            weight = random.standard_normal((inputs, outputs), np.float32) / np.float32(outputs)
            file.write(weight.tobytes())
            tensor = ir.ExternalTensor(
                data.name, offset, weight.nbytes, ir.DataType.FLOAT,
                shape=ir.Shape(weight.shape), name=f"w{i}", base_dir=path.parent,
            )  # fmt: skip
            operands = [value, _initializer(graph, tensor)]
            for op, more in (("MatMul", []), ("Reshape", [shared[0]]), ("ReduceSum", [shared[1]])):
                node = ir.node(
                    op, [*operands, *more], attributes={"keepdims": 0} if op == "ReduceSum" else {}
                )
                graph.append(node)
                operands = [node.outputs[0]]
            node = ir.node("Add", [*operands, value])
            graph.append(node)
            value = node.outputs[0]
    value.name, value.type, value.shape = "y", FLOAT, shape
    graph.outputs.append(value)
    ir.save(ir.Model(graph, ir_version=9), path)
    return path


def _initializer(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    value = ir.Value(
        name=tensor.name, const_value=tensor, shape=ir.Shape(tensor.shape.numpy()),
        type=ir.TensorType(tensor.dtype),
    )  # fmt: skip
    graph.register_initializer(value)
    return value


class Watch:
    """Looks at the anonymous memory of this process and its children until the block ends."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, sum(_anonymous(pid) for pid in _family(os.getpid())))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def _perplexity(path: Path, test: list[tuple[np.ndarray, np.ndarray]]) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    lost = count = 0.0
    for tokens, wanted in test:
        logits = session.run(None, {"input_ids": tokens})[0][0].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        sums = np.log(np.exp(logits).sum(axis=-1))
        lost += float((sums - logits[np.arange(len(wanted)), wanted]).sum())
        count += len(wanted)
    return math.exp(lost / count)


if __name__ == "__main__":
    main()
