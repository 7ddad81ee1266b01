"""Other quantizers, called as their users would call them, each in a process of its own.

    python benchmarks/peers.py PEER MODEL ROWS OUT [--transformer] [--threads N]

MODEL is an ONNX file, ROWS a folder with one .npz for each calibration row; files go to OUT.
Besides the quantizers there are the calibrators of ONNX Runtime alone, which leave their seconds
and peak memory in OUT/calibration.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.measure.environment import usable_cpus
from gossamer.memory import peak_rss

TIMEOUT = 600
MEMORY_SHARE = 0.8  # of what is free now: a peer that needs more fails, and nobody else suffers


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a peer is asked for; `threads` None: on all CPUs."""

    model: Path
    rows: Path
    out: Path
    transformer: bool = False
    threads: int | None = None

    def feeds(self) -> Iterator[dict[str, np.ndarray]]:
        """The calibration rows, as a model is fed."""
        for path in sorted(self.rows.glob("*.npz")):
            with np.load(path, allow_pickle=False) as archive:
                yield {name: archive[name] for name in archive.files}


def ort_static(request: Request) -> None:
    """ONNX Runtime's quantize_static: QDQ, per channel, MinMax."""
    from onnxruntime.quantization import QuantFormat, quantize_static

    quantize_static(
        str(request.model),
        str(request.out / "model.onnx"),
        _reader(request),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
    )


def ort_dynamic(request: Request) -> None:
    """ONNX Runtime's quantize_dynamic with its defaults."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(request.model), str(request.out / "model.onnx"))


def nncf_openvino(request: Request) -> None:
    """nncf.quantize of the model as OpenVINO reads it."""
    openvino, nncf = openvino_and_nncf()
    network = openvino.Core().read_model(str(request.model))
    quantized = nncf.quantize(network, nncf.Dataset(list(request.feeds())), **_options(request))
    openvino.save_model(quantized, str(request.out / "model.xml"))


def nncf_onnx(request: Request) -> None:
    """nncf.quantize of the ONNX model."""
    import onnx

    _, nncf = openvino_and_nncf()
    model = onnx.load(request.model)
    quantized = nncf.quantize(model, nncf.Dataset(list(request.feeds())), **_options(request))
    onnx.save(quantized, request.out / "model.onnx")


def ort_calibration(method: str, request: Request) -> None:
    """ONNX Runtime's calibration alone: seconds and peak memory."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    begin = time.perf_counter()
    calibrator = create_calibrator(
        str(request.model),
        augmented_model_path=str(request.out / "augmented.onnx"),
        calibrate_method=CalibrationMethod[method],
    )
    calibrator.collect_data(_reader(request))
    calibrator.compute_data()
    seconds = time.perf_counter() - begin
    told = {"seconds": round(seconds, 3), "rss_bytes": peak_rss()}
    (request.out / "calibration.json").write_text(json.dumps(told), encoding="utf-8")


PEERS: dict[str, Callable[[Request], None]] = {
    "ort-static": ort_static,
    "ort-dynamic": ort_dynamic,
    "nncf-openvino": nncf_openvino,
    "nncf-onnx": nncf_onnx,
}
CALIBRATORS: dict[str, Callable[[Request], None]] = {
    f"ort-{method}": partial(ort_calibration, method) for method in ("MinMax", "Entropy")
}
FILES = ("model.onnx", "model.xml", "calibration.json")
READS_ONNX = ("ort-static", "ort-dynamic", "nncf-onnx")  # those that a stripped file may help


def call(peer: str, request: Request) -> dict[str, Any]:
    """What came of calling a peer: its file or the reason why there is none, and seconds.

    What came of it is kept in `request.out`, and not tried twice.
    """
    kept = request.out / "peer.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    shutil.rmtree(request.out, ignore_errors=True)
    request.out.mkdir(parents=True)
    paths = [str(p.absolute()) for p in (request.model, request.rows, request.out)]
    command = [sys.executable, __file__, peer, *paths]
    if request.transformer:
        command.append("--transformer")
    if request.threads is not None:
        command.append(f"--threads={request.threads}")
    started = time.monotonic()
    reason = _reason(command, request.out)
    files = [p.name for p in request.out.iterdir() if p.name in FILES]
    if not reason and not files:
        reason = "wrote no file"
    record = {
        "file": None if reason else files[0],
        "reason": reason,
        "seconds": round(time.monotonic() - started, 1),
    }
    kept.write_text(json.dumps(record), encoding="utf-8")
    return record


def strip_value_info(model: Path, out: Path) -> Path:
    """A copy without the shapes noted for inner values, which stop quantize_dynamic."""
    import onnx

    loaded = onnx.load(model)
    del loaded.graph.value_info[:]
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(loaded, out / "model.onnx")
    return out / "model.onnx"


def _reason(command: list[str], folder: Path) -> str:
    """Why the call failed, nothing if it did not."""
    # what the peers' users are told to set against telemetry
    environment = os.environ | {"NNCF_CI": "1", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"took more than {TIMEOUT} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"ended with {done.returncode}"


def _reader(request: Request) -> Any:
    """The calibration rows, as ONNX Runtime reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Rows(CalibrationDataReader):  # type: ignore[misc]  # has no types
        def __init__(self) -> None:
            self._left = request.feeds()

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    return Rows()


def openvino_and_nncf() -> tuple[Any, Any]:
    from gossamer.runtimes.openvino import package

    openvino = package()
    import nncf

    return openvino, nncf


def _options(request: Request) -> dict[str, Any]:
    import nncf

    options: dict[str, Any] = {"subset_size": len(list(request.rows.glob("*.npz")))}
    if request.transformer:
        options["model_type"] = nncf.ModelType.TRANSFORMER
    return options


def _limit_memory() -> None:
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            limit = int(int(line.split()[1]) * 1024 * MEMORY_SHARE)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main() -> None:
    """Call one peer in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS | CALIBRATORS)
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--transformer", action="store_true")
    parser.add_argument("--threads", type=int)
    asked = vars(parser.parse_args())
    peer = (PEERS | CALIBRATORS)[asked.pop("peer")]
    request = Request(**asked)
    _limit_memory()
    if request.threads is not None:
        os.sched_setaffinity(0, usable_cpus()[: request.threads])
    peer(request)


if __name__ == "__main__":
    main()
