"""Weights for each accumulator, in the real runtimes on emulated CPUs without VNNI and of ARM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from gossamer.graph.place import Wish
from gossamer.graph.steps.quantize_weights import QuantizeWeights
from gossamer.run import NO_DATA
from gossamer.step import GraphContext
from gossamer.target import TargetSpec
from zoo.placed import OPENVINO, ORT, TORCH, graph, quantized

EMULATOR = shutil.which("qemu-x86_64")
ARM_EMULATOR = shutil.which("qemu-aarch64")
HASWELL = ("-cpu", "Haswell")  # AVX2: adds pairs of products by VPMADDUBSW, in s16
RUNNER = Path(__file__).with_name("run_files.py")
KINDS = ("alternating", "equal", "one channel")
TARGETS = (ORT, OPENVINO)
# CPU, its part number and features of each level
ARM = {
    "neon": ("cortex-a57", "0xd07", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
    "dotprod": (
        *("neoverse-n1", "0xd0c"),
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp",
    ),
}
BITS: tuple[Literal[4, 8], ...] = (4, 8)

# Operator, weight shape, input shape, axis of the output channels. Small first layers, odd numbers
# of channels, groups and depthwise Convs have kernels of their own.
LAYOUTS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], int]] = {
    "conv 3x3": ("Conv <pads = [1, 1, 1, 1]>", (32, 16, 3, 3), (1, 16, 9, 9), 0),
    "conv 1x1": ("Conv", (32, 64, 1, 1), (1, 64, 7, 7), 0),
    "conv 1x1 odd": ("Conv", (32, 37, 1, 1), (1, 37, 7, 7), 0),
    "conv 3x3 odd": ("Conv", (32, 21, 3, 3), (1, 21, 9, 9), 0),
    "first conv": ("Conv <strides = [2, 2]>", (32, 3, 7, 7), (1, 3, 31, 31), 0),
    "first conv grey": ("Conv", (32, 1, 5, 5), (1, 1, 12, 12), 0),
    "grouped": ("Conv <group = 2>", (32, 16, 3, 3), (1, 32, 9, 9), 0),
    "grouped odd": ("Conv <group = 4>", (32, 5, 3, 3), (1, 20, 9, 9), 0),
    "depthwise 3x3": ("Conv <group = 32>", (32, 1, 3, 3), (1, 32, 9, 9), 0),
    "depthwise 5x5": ("Conv <group = 32>", (32, 1, 5, 5), (1, 32, 9, 9), 0),
    "conv 1d": ("Conv", (32, 16, 3), (1, 16, 40), 0),
    "transposed conv": ("ConvTranspose", (16, 32, 2, 2), (1, 16, 9, 9), 1),
    "matmul": ("MatMul", (128, 96), (1, 9, 128), 1),
    "matmul odd": ("MatMul", (131, 97), (1, 9, 131), 1),
    "gemm": ("Gemm <transB = 1>", (96, 128), (3, 128), 0),
}


@pytest.fixture
def arm64(request: pytest.FixtureRequest) -> Path:
    """Debian's arm64 Python with the runtimes; the test skips without it or its emulator."""
    folder: Path | None = request.config.getoption("--arm64")
    if folder is None or ARM_EMULATOR is None:
        pytest.skip("needs qemu-aarch64 and --arm64=DIR, which scripts/arm64 makes")
    return folder.resolve()


def weights(kind: str, shape: tuple[int, ...], axis: int) -> NDArray[np.float32]:
    """Weights of which no two neighbours, in the order of kernels, make a larger sum than others.

    Products that a kernel adds in pairs of other weights than neighbours saturate with them.
    """
    inputs, spatial = shape[1 - axis], shape[2:]
    order = np.arange(inputs * int(np.prod(spatial)))
    match kind:
        case "alternating":
            row = 1 - 2 * (order % 2)
        case "equal":
            row = np.ones_like(order)
        case _:
            row = order % inputs == 0
    one = np.moveaxis(row.reshape(*spatial, inputs), -1, 0)
    channels = np.broadcast_to(one, (shape[axis], *one.shape))
    return np.ascontiguousarray(np.moveaxis(channels, 0, axis), np.float32)


def write(
    folder: Path,
    cpu: str,
    layouts: Collection[str] = LAYOUTS,
    targets: Sequence[TargetSpec] = TARGETS,
) -> list[Path]:
    """A model and the input with the largest products, for each layout, kind and target."""
    paths = []
    for layout in layouts:
        op, shape, x_shape, axis = LAYOUTS[layout]
        x = np.full(x_shape, 100, np.float32)
        sizes, free = ", ".join(map(str, x_shape)), ", ".join("abcd"[: len(x_shape)])
        for kind in KINDS:
            text = f"(float[{sizes}] x) => (float[{free}] y) {{ r = Relu(x) y = {op} (r, w) }}"
            model = graph(text, w=weights(kind, shape, axis))
            for target in targets:
                written, plan = quantized(model, target, Wish(cpu=cpu), {"x": x})
                if plan.quantized:
                    path = folder / target.runtime / f"{layout}, {kind}.onnx"
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(ir.to_proto(written).SerializeToString())
                    paths.append(path)
        np.save(folder / f"{layout}.npy", x)
    return paths


def write_weights(folder: Path) -> list[Path]:
    """The same with weights in groups of few bits, and the standard's form of it as reference."""
    paths = []
    (folder / "reference").mkdir()
    context = GraphContext(target=ORT, cpu="portable", calibration=NO_DATA, record=lambda _: None)
    for bits in BITS:
        np.save(folder / f"{bits} bits.npy", np.full((1, 9, 128), 100, np.float32))
        for kind in KINDS:
            for place in ("reference", *(target.runtime for target in TARGETS)):
                text = "(float[1, 9, 128] x) => (float[a, b, c] y) { y = MatMul(x, w) }"
                model = graph(text, w=weights(kind, (128, 96), 1))
                step = QuantizeWeights(bits=bits, standard=place == "reference")
                path = folder / place / f"{bits} bits, {kind}.onnx"
                path.write_bytes(ir.to_proto(step.apply(model, context)).SerializeToString())
                paths += [path] if place != "reference" else []
    return paths


def in_float(path: Path) -> NDArray[np.generic]:
    """What a file means: its products computed in float32."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = path.parents[1] / "reference" / path.name
    known = reference if reference.exists() else path
    session = onnxruntime.InferenceSession(known.read_bytes(), options)
    result: NDArray[np.generic] = session.run(None, {"x": np.load(_input(path))})[0]
    return result


def _input(path: Path) -> Path:
    return path.parents[1] / (path.name.split(",")[0] + ".npy")


def wrong(paths: list[Path], command: list[str], path: Sequence[Path] = ()) -> list[str]:
    """The files whose answers under an emulator are not what they mean."""
    pythonpath = {"PYTHONPATH": os.pathsep.join(map(str, path))} if path else {}
    done = subprocess.run(
        [*command, str(RUNNER), *map(str, paths)],
        check=False, capture_output=True, text=True, env={**os.environ, **pythonpath},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = []
    for file in paths:
        expected, got = in_float(file), np.load(file.with_suffix(".npy"))
        if np.abs(expected - got).max() > 0.01 * max(1.0, np.abs(expected).max()):
            found.append(f"{file.parent.name}: {file.stem}")
    return found


@pytest.mark.openvino
@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64 (Debian: qemu-user)")
def test_the_runtimes_are_right_where_products_are_added_in_pairs(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    paths = [*write(tmp_path, "portable"), *write_weights(tmp_path)]
    assert len(paths) > len(LAYOUTS) * len(KINDS)
    assert not wrong(paths, [EMULATOR or "", *HASWELL, sys.executable])


@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64 (Debian: qemu-user)")
def test_onnx_runtime_is_wrong_there_with_weights_for_other_cpus(tmp_path: Path) -> None:
    paths = [p for p in write(tmp_path, "vnni", ["matmul"]) if p.parent.name == "ort"]
    assert wrong(paths, [EMULATOR or "", *HASWELL, sys.executable]) == ["ort: matmul, equal"]


@pytest.mark.torch
@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64 (Debian: qemu-user)")
@pytest.mark.parametrize(("level", "layouts", "lost"), [
    pytest.param("portable", tuple(LAYOUTS), [], id="weights for every CPU"),
    pytest.param("vnni", ("matmul",), ["torch-cpu: matmul, equal"], id="weights for other CPUs",
                 marks=pytest.mark.slow),
])  # fmt: skip
def test_torch_adds_products_in_pairs(
    tmp_path: Path, level: str, layouts: tuple[str, ...], lost: list[str]
) -> None:
    paths = write(tmp_path, level, layouts, [TORCH])
    assert len(paths) >= len(layouts) * len(KINDS) - 3  # transposed Convs stay in float
    assert wrong(paths, [EMULATOR or "", *HASWELL, sys.executable]) == lost


@pytest.mark.openvino
@pytest.mark.parametrize("level", ARM)
def test_arm_adds_whole_products(tmp_path: Path, arm64: Path, level: str) -> None:
    cpu, part, features = ARM[level]
    (arm64 / "proc").mkdir(exist_ok=True)  # what the runtimes ask; else they see this machine's
    told = f"Features: {features}\nCPU implementer: 0x41\nCPU architecture: 8\nCPU part: {part}\n"
    (arm64 / "proc" / "cpuinfo").write_text("".join(f"processor: {i}\n{told}\n" for i in range(2)))
    assert {t.accumulator(level) for t in TARGETS} == {"s32"}
    paths = write(tmp_path, level)
    python = [str(arm64 / "usr" / "bin" / "python3")]
    emulator = [str(ARM_EMULATOR), "-cpu", cpu, "-L", str(arm64), *python]
    assert len(paths) > len(LAYOUTS) * len(KINDS)
    assert not wrong(paths, emulator, [RUNNER.parents[2] / "src", arm64 / "site"])
