"""The model card: what a person who finds the compressed model needs to know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from gossamer.report import document, loading, words
from gossamer.report.markup import printable
from gossamer.report.table import candidate_markdown, escape_markdown, markdown_table
from gossamer.result import ReportFormat

if TYPE_CHECKING:
    from gossamer.result import Candidate, Result

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
RUNTIME_TAGS = {
    **dict.fromkeys(("ort", "ort-cuda"), ("onnx", "onnxruntime")),
    "openvino": ("openvino",),
    "torch-cpu": ("onnx", "pytorch"),
}
PACKAGES = {"ort-cuda": "onnxruntime-gpu", "openvino": "openvino"}
PIPELINES = frozenset(
    {
        "text-classification",
        "token-classification",
        "question-answering",
        "multiple-choice",
        "image-classification",
        "object-detection",
        "image-segmentation",
        "audio-classification",
        "automatic-speech-recognition",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Card(ReportFormat):
    """`README.md` with YAML front matter, as model hubs show it."""

    @property
    def file_name(self) -> str:
        """Name of the file in the output folder."""
        return "README.md"

    def render(self, result: Result) -> str:
        """The whole text of the file."""
        parts = (
            _front_matter(result),
            f"# {escape_markdown(words.model_name(result))}, compressed by gossamer",
            *_verdict(result),
            *_use(result),
            *_measured(result),
            *_limits(result),
            *_reproduce(result),
        )
        return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _front_matter(result: Result) -> str:
    metric = words.metric(result)
    fields: dict[str, Any] = {"library_name": "gossamer"}
    base = _base_model(result)
    if base is not None:
        fields |= {"base_model": base, "base_model_relation": "quantized"}
    task = printable(str(result.task.get("name", "")), "")
    if task in PIPELINES:
        fields["pipeline_tag"] = task
    fields |= {"tags": _tags(result), "metrics": [metric]}
    value = _score(result)
    if value is not None:
        fields["model-index"] = [_index(result, task, metric, value)]
    text = yaml.safe_dump(
        document.plain(fields), sort_keys=False, allow_unicode=True, width=1 << 16
    )
    return f"---\n{text}---"


def _index(result: Result, task: str, metric: str, value: float) -> dict[str, Any]:
    name = printable(str(result.task.get("dataset") or "the given data"), "")
    is_held_out = result.winner is not None and words.is_number(result.winner.report_score)
    dataset = {"type": "custom", "name": name, "split": "report" if is_held_out else "search"}
    if words.is_synthetic(result):
        dataset = {"type": "synthetic", "name": "synthetic inputs"}
    return {
        "name": words.model_name(result),
        "results": [
            {
                "task": {"type": task or "other"},
                "dataset": dataset,
                "metrics": [{"type": metric, "name": metric, "value": value}],
            }
        ],
    }


def _base_model(result: Result) -> str | None:
    """The hub id that the model came from; a local folder is none."""
    model = result.model
    text = str(model.get("hub_id") or model.get("hub-id") or "")
    if not text and "hub" in str(model.get("kind", "")):
        text = str(model.get("origin", ""))
    return text if HUB_ID.fullmatch(text) else None


def _tags(result: Result) -> list[str]:
    best = result.winner
    tags = ["gossamer"]
    if best is not None and not words.is_float_win(result):
        steps = {str(name) for step in best.recipe.get("graph-steps", ()) for name in step}
        if any(name.startswith("quantize") for name in steps):
            tags += ["quantized", "int8"]
    if best is not None:
        tags += RUNTIME_TAGS.get(best.runtime, (printable(best.runtime, ""),))
    return tags


def _score(result: Result) -> float | None:
    best = result.winner
    if best is None:
        return None
    value = best.report_score if words.is_number(best.report_score) else best.score
    return value if words.is_number(value) else None


def _verdict(result: Result) -> list[str]:
    parts = [f"**{escape_markdown(words.headline(result))}.**"]
    score = words.verdict_score(result)
    if score:
        parts.append(escape_markdown(f"{score[0].upper()}{score[1:]}."))
    if result.reason:
        parts.append(escape_markdown(result.reason))
    if words.is_synthetic(result):
        parts.append(
            "> **Synthetic data.** The inputs were made up from the model's signature. The score "
            "says how closely the compressed model follows the float model on such inputs; it "
            "says nothing about accuracy on real ones."
        )
    parts.append(escape_markdown(f"Measured on {words.place(result)}."))
    return parts


def _use(result: Result) -> list[str]:
    best = result.winner
    code = loading.snippet(best) if best is not None else None
    if best is None or code is None:
        return []
    package = PACKAGES.get(best.runtime, "onnxruntime")
    needs = f"The files need `{package}` and nothing of gossamer"
    if best.runtime == "torch-cpu":
        needs = "The files are ONNX; what was measured is PyTorch running them by `gossamer[torch]`"
    return [
        "## Use",
        f"{needs}. Inputs and outputs keep the names of the original model.",
        _fence(code, "python"),
    ]


def _measured(result: Result) -> list[str]:
    best, baseline = result.winner, result.baseline
    parts = ["## Measured"]
    if best is not None:
        headers = ("", "float baseline", "this model")
        parts.append(markdown_table(headers, _comparison(result, best), ("left", "right", "right")))
    if result.candidates:
        parts += [
            "All candidates, the fastest first. Score and drop are those of the search split.",
            candidate_markdown(result.candidates, best, baseline),
        ]
    return parts


def _comparison(result: Result, best: Candidate) -> list[tuple[str, str, str]]:
    base = result.baseline
    metric = words.metric(result)
    lines = [
        ("recipe", _origin(base), _origin(best)),
        (
            f"{metric}, report split",
            words.number(base.report_score if base else None),
            words.number(best.report_score),
        ),
        (
            f"{metric}, search split",
            words.number(base.score if base else None),
            words.number(best.score),
        ),
        ("drop, paired 95 %", "", words.drop_interval(result)),
    ]
    for name in ("median", "p90", "p99"):
        theirs = (base.latency_ms or {}).get(name) if base else None
        ours = (best.latency_ms or {}).get(name)
        lines.append((f"latency {name}, ms", words.milliseconds(theirs), words.milliseconds(ours)))
    ends = words.interval(best.speedup_interval)
    return [
        *lines,
        ("speed-up (95 %)", "1.00", f"{words.times(best.speedup)} ({ends})"),
        ("size", words.size(base.size_bytes if base else None), words.size(best.size_bytes)),
        (
            "peak memory",
            words.size(base.peak_rss_bytes if base else None),
            words.size(best.peak_rss_bytes),
        ),
    ]


def _origin(candidate: Candidate | None) -> str:
    return f"{candidate.label} on {candidate.target}" if candidate else words.NOTHING


def _limits(result: Result) -> list[str]:
    best = result.winner
    if best is None:
        return []
    lines = [
        f"- Gives right answers on: {escape_markdown(words.cpu_words(best))}.",
        f"- Speed was measured on {escape_markdown(words.place(result))}; other machines have "
        "other ratios.",
        f"- Accuracy was measured on {_samples(result)}; other data may lose more or less.",
    ]
    if doubt := words.unproven(best):
        lines.append(f"- Rules of the target {escape_markdown(f'{best.target}: {doubt}')}.")
    if words.is_synthetic(result):
        lines.append("- The data was synthetic: measure on real data before relying on the score.")
    lines += [f"- {escape_markdown(remark)}" for remark in words.remarks(result)]
    if result.verdict != "met":
        lines.append("- The accuracy budget was not met.")
    return ["## Limits", "\n".join(lines)]


def _samples(result: Result) -> str:
    splits = result.task.get("splits")
    count = splits.get("report") if isinstance(splits, dict) else None
    named = "" if words.is_synthetic(result) else str(result.task.get("dataset") or "")
    samples = f"{count} samples" if isinstance(count, int) else "one set of samples"
    return escape_markdown(f"{samples} of {named}" if named else samples)


def _reproduce(result: Result) -> list[str]:
    commands = [result.command] if result.command else []
    commands.append("gossamer run recipe.yaml")
    return [
        "## Reproduce",
        "The search, and the winner alone from its recipe:",
        _fence("\n".join(printable(c) for c in commands), "console"),
        "Plan, method and environment: `report.html`. The same numbers for programs: "
        "`result.json`.",
    ]


def _fence(code: str, language: str) -> str:
    """Code between fences longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"
