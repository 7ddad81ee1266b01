"""Output folders of compress and sweep as studies: what published tables are made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import OutputError
from gossamer.measure.environment import cpu_level
from gossamer.published import Precision, Study, Variant
from gossamer.report import document, parts, sweep_document, words
from gossamer.report.markup import printable

if TYPE_CHECKING:
    from gossamer.result import Candidate, Result
    from gossamer.swept import Swept, SweptSetting


def read(out: Path) -> Study:
    """The study in an output folder.

    Raises:
        OutputError: It holds none that is finished.
    """
    if (out / "result.json").is_file():
        return of_result(document.read(out / "result.json", out))
    if (out / "sweep.json").is_file():
        return of_sweep(sweep_document.read(out / "sweep.json", out))
    begun = (out / "study.db").exists()
    raise OutputError(
        "a finished output folder of compress or sweep",
        f"{out}, {'which is not finished' if begun else 'which holds neither'}",
        "Go on with it by --resume." if begun else "Name the folder that was given as --out.",
    )


def of_result(result: Result) -> Study:
    """What compress found."""
    variants = tuple(_candidate(c) for c in result.candidates if c.status == "ok")
    by_identity = {v.identity: v for v in variants}
    best, base = result.winner, result.baseline
    is_held_out = best is not None and base is not None and words.is_number(base.report_score)
    chosen = _candidate(best, is_held_out=is_held_out) if best else None
    uniform = (result.placement or {}).get("uniform")
    if uniform is None:
        same = (v for v in variants if v.label == "int8 everywhere" and chosen)
        uniform = next((v.identity for v in same if chosen and v.runtime == chosen.runtime), None)
    return Study(
        model=words.model_name(result),
        kind=printable(str(result.model.get("kind") or ""), ""),
        task=printable(str(result.task.get("name") or ""), ""),
        dataset=_dataset(result),
        metric=words.metric(result),
        is_fraction=words.is_fraction(result),
        synthetic=words.is_synthetic(result),
        baseline=_candidate(base, is_held_out=is_held_out) if base else None,
        chosen=chosen,
        uniform=by_identity.get(str(uniform)),
        variants=variants,
        point=words.point(result.batch, result.length),
        source=result,
        **_where(result.environment),
    )


def of_sweep(swept: Swept) -> Study:
    """What a sweep found; it recommends the fastest setting that loses nothing for certain."""
    variants = tuple(_setting(s, swept) for s in swept.settings if s.status == "ok")
    able = [v for v in variants if v.drop_interval and v.drop_interval[0] <= 0 and v.speedup]
    first = next((t for s in swept.settings for t in s.timings), None)
    named = swept.fixed.get("dataset") or {}
    return Study(
        model=Path(str(swept.fixed.get("model_name_or_path", "model")).rstrip("/")).name,
        kind=str(swept.model.get("kind") or ""),
        task=str(swept.task["name"]),
        dataset=str(named.get("name") or named.get("eval_split") or ""),
        metric=str(swept.task["metric"]),
        is_fraction=bool(swept.task["higher_is_better"]) and 0 <= (swept.baseline.score or 0) <= 1,
        synthetic=bool(swept.task["synthetic"]),
        baseline=_setting(swept.baseline, swept),
        chosen=max(able, key=lambda v: v.speedup or 0.0, default=None),
        uniform=None,
        variants=variants,
        point=words.point(first.batch, first.length) if first else "",
        source=swept,
        **_where(swept.environment),
    )


def _where(environment: dict[str, Any]) -> dict[str, Any]:
    """The machine in the words of published tables: its processor and what int8 runs on there."""
    flags = environment.get("flags")
    level = cpu_level(tuple(map(str, flags))) if isinstance(flags, list | tuple) else ""
    name = printable(str(environment.get("cpu") or "an unnamed CPU"), "")
    threads = environment.get("threads")
    return {
        "machine": f"{name} ({level.upper()})" if level not in ("", "portable") else name,
        "threads": threads if isinstance(threads, int) else None,
        "versions": {str(k): str(v) for k, v in parts.mapping(environment.get("versions")).items()},
    }


def _candidate(candidate: Candidate, *, is_held_out: bool = False) -> Variant:
    """`is_held_out`: by the rows that the search never saw."""
    ours = candidate.report_score is not None and is_held_out
    latency = candidate.latency_ms or {}
    return Variant(
        label=printable(candidate.label, ""),
        runtime=printable(candidate.runtime, ""),
        precision=_precision(candidate),
        score=candidate.report_score if ours else candidate.score,
        metrics=candidate.metrics,
        drop=candidate.report_drop if ours else candidate.drop,
        drop_interval=candidate.report_interval if ours else None,
        latency_ms=latency.get("median"),
        throughput=candidate.throughput,
        speedup=candidate.speedup,
        speedup_interval=candidate.speedup_interval,
        identity=candidate.id,
    )


def _precision(candidate: Candidate) -> Precision:
    steps = candidate.recipe.get("graph-steps") or ()
    names = {str(name) for step in steps if isinstance(step, dict) for name in step}
    if any(name.startswith("quantize") for name in names):
        return "int8"
    return "half" if "to-half" in names else "float32"


def _setting(setting: SweptSetting, swept: Swept) -> Variant:
    values = (f"{v}" for k, v in setting.values.items() if k in swept.varied and v is not None)
    timing = next((t for t in setting.timings if not t.reason), None)
    return Variant(
        label=printable(", ".join(values), "") or "float32",
        runtime=setting.runtime,
        precision="int8" if setting.recipe.get("graph-steps") else "float32",
        score=setting.score,
        metrics=setting.metrics,
        drop=setting.drop,
        drop_interval=setting.drop_interval,
        latency_ms=timing.latency_ms.get("median") if timing else None,
        throughput=timing.throughput if timing else None,
        speedup=timing.speedup if timing else None,
        speedup_interval=timing.speedup_interval if timing else None,
        identity=setting.id,
    )


def _dataset(result: Result) -> str:
    """The name of the data's file or folder."""
    if words.is_synthetic(result):
        return "synthetic inputs"
    return printable(str(result.task.get("dataset") or ""), "")
