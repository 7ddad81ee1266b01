"""Score one model over all rows of a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.measure.environment import physical_cores
from gossamer.measure.isolate import Isolated
from gossamer.measure.score import References, score, score_baseline
from gossamer.report.document import plain
from gossamer.result import SCHEMA_VERSION
from gossamer.source import FloatModel
from gossamer.task import DataRequest, Split, TaskData

OWN = {".xml": "openvino", ".plan": "tensorrt"}  # files that one runtime alone runs


def evaluate(  # noqa: PLR0913 - the options of the command line, by the same names
    model: str | Path,
    *,
    task: str,
    data: str | Path,
    runtime: str = "ort",
    threads: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The `eval --json` document: task, metric, score, metrics and the number of rows.

    Args:
        model: A model file, an output folder of compress, or whatever compress takes.
        task: Name of the task.
        data: File or folder; of a folder with a test part, that part is scored.
        runtime: Name of the runtime; an OpenVINO or TensorRT file runs on its own.
        threads: Threads of the session; None is the physical cores.
        seed: Draws what the task draws.
        options: Options of the task.

    Raises:
        InputError: The model, the task or the data cannot be used.
        GossamerError: The model could not be run.
    """
    from gossamer.tasks import choose

    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        path, opened, chosen_runtime = open_any(str(model), runtime, Path(scratch))
        chosen = choose(task, opened, dict(options or {}))
        found = chosen.open(DataRequest(model=opened, path=Path(data), seed=seed))
        rows = every_row(found)
        with Isolated(chosen_runtime, path, threads=threads or physical_cores()) as session:
            if chosen.needs_reference:
                references = References(Path(scratch) / "references")
                scored = score_baseline(session, chosen, rows, references)
            else:
                scored = score(session, chosen, rows)
    document: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "task": task.replace("_", "-"),
            "metric": chosen.metric_name,
            "score": scored.value,
            "metrics": scored.metrics,
            "n": len(scored.rows),
            "remarks": found.remarks,
        }
    )
    return document


def open_any(text: str, runtime: str, cache: Path) -> tuple[Path, FloatModel, str]:
    """The file to run, what it opens to, and the runtime that runs it.

    ONNX, OpenVINO and TensorRT files run as they are (quantized ones too); other sources are
    exported, and built for the runtime.
    """
    path = Path(text)
    if _is_out(path):
        path = next(p for p in sorted((path / "model").iterdir()) if p.suffix in (".onnx", *OWN))
    member = plugins.load("runtimes", runtime)
    name = member.__module__.rsplit(".", 1)[-1]
    if path.suffix in OWN:
        return path, as_it_is(path, OWN[path.suffix]), OWN[path.suffix]
    if path.suffix == ".onnx" and path.exists():
        return path, as_it_is(path, name), name
    from gossamer.sources import find

    opened = find(text).open(cache)
    return opened.path, opened, name


def is_file(text: str) -> bool:
    """Whether a text names files that run as they are, or the output folder that holds them."""
    return Path(text).suffix in (".onnx", *OWN) or _is_out(Path(text))


def _is_out(path: Path) -> bool:
    return path.is_dir() and (path / "result.json").exists() and (path / "model").is_dir()


def as_it_is(path: Path, runtime: str) -> FloatModel:
    """What a caller must know of a model file that runs as it is."""
    from gossamer.artifact import sha256

    if not path.exists():
        raise RecipeError(f"a model file at {path}", "nothing there", "Check the path.")
    with Isolated(runtime, path, threads=1) as session:
        inputs, outputs = session.inputs, session.outputs
    is_folder = (path.parent / "config.json").exists()
    return FloatModel(
        path=path,
        inputs=inputs,
        outputs=outputs,
        digest=sha256(path),
        folder=path.parent if is_folder else None,
    )


def files_of(path: Path) -> list[Path]:
    """The files of a model: the one to open, and those with its weights."""
    if path.suffix == ".xml":
        return [path, path.with_suffix(".bin")]
    if path.suffix in OWN:
        return [path]
    import onnx_ir as ir

    tensors = [
        value.const_value
        for graph in ir.load(path).graphs()
        for value in graph.initializers.values()
    ]
    names = {str(t.location) for t in tensors if isinstance(t, ir.ExternalTensor)}
    return [path, *(path.parent / name for name in sorted(names))]


def every_row(data: TaskData) -> Split:
    """All rows of a data set that was opened as splits, as one split.

    The splits of one file are put together again; with a test part, that alone is scored.
    """
    if data.search.samples is not data.report.samples:
        return data.report
    parts = (data.calibration, data.search, data.report)
    indices = sorted(
        {i for part in parts if part.samples is data.report.samples for i in part.indices}
    )
    return Split(samples=data.report.samples, indices=tuple(indices))
