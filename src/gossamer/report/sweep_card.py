"""The card of a sweep: what was fixed, what varied, and tables of nothing but what varies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from gossamer.report import document, words
from gossamer.report.markup import printable
from gossamer.report.table import Align, escape_markdown, markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.swept import Swept, SweptSetting, Timing

# of a fixed dataset this is where somebody's files lie, which nobody else has
LOCAL = ("model_name_or_path", "path")
INTRO = """The float model is the first row. Every other one was timed in turns with it: the
speed-up is the median of the ratios of all turns with its 95 % interval, and one nearer to 1 than
the noise floor says nothing. A drop is how much worse a score is than that of float, with the
paired 95 % interval."""


def card(swept: Swept) -> str:
    """The whole text of the card, with YAML front matter."""
    parts = (
        _front_matter(swept),
        f"# A sweep over {escape_markdown(model_name(swept))}",
        *_head(swept),
        "Fixed parameters:",
        "\n".join(_listed(swept.fixed)),
        "Benchmarked parameters:",
        "\n".join(_varied(swept)),
        "# Evaluation",
        INTRO,
        "## Non-time metrics",
        _scores(swept),
        "## Time metrics",
        f"Time benchmarks were run for {swept.point_seconds:g} seconds per config.",
        *_times(swept),
        *_told(swept),
    )
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def front_matter(fields: dict[str, Any]) -> str:
    """YAML between dashes, as model hubs read it."""
    text = yaml.safe_dump(
        document.plain(fields), sort_keys=False, allow_unicode=True, width=1 << 16
    )
    return f"---\n{text}---"


def shown(value: object) -> str:
    """A value of a sweep's file as people read it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(each)}" for key, each in value.items())
    return printable(str(value), "")


def _front_matter(swept: Swept) -> str:
    dataset = swept.fixed.get("dataset") or {}
    name = dataset.get("name") or dataset.get("eval_split")
    return front_matter(
        {
            "library_name": "gossamer",
            "pipeline_tag": swept.task["name"],
            **({"datasets": [name]} if name else {}),
            "metrics": [*swept.metrics, "latency_in_seconds", "samples_per_second"],
            "tags": ["gossamer", *_frameworks(swept)],
            "model-index": [
                {"name": model_name(swept), "results": [_results(swept, str(name or ""))]}
            ],
        }
    )


def _results(swept: Swept, dataset: str) -> dict[str, Any]:
    """Evaluation results as model hubs read them: every metric of every different file."""
    first: dict[str | None, SweptSetting] = {}
    for setting in swept.settings:
        if setting.status == "ok":
            first.setdefault(setting.file, setting)
    split = (swept.fixed.get("dataset") or {}).get("eval_split")
    synthetic = {"type": "synthetic", "name": "synthetic inputs"}
    named = {"type": dataset or "custom", "name": dataset or "the given data"}
    return {
        "task": {"type": swept.task["name"]},
        "dataset": synthetic
        if swept.task.get("synthetic")
        else {**named, **({"split": split} if split else {})},
        "metrics": [
            {"type": metric, "name": f"{metric} ({said(setting, swept)})", "value": value}
            for setting in first.values()
            for metric in swept.metrics
            if (value := setting.metrics.get(metric)) is not None
        ],
    }


def _frameworks(swept: Swept) -> list[str]:
    return list(
        dict.fromkeys(str(s.values.get("framework", "onnxruntime")) for s in swept.settings)
    )


def model_name(swept: Swept) -> str:
    """Of the float model."""
    return str(swept.fixed.get("model_name_or_path", "")).rstrip("/").rsplit("/", 1)[-1]


def _head(swept: Swept) -> list[str]:
    where = swept.environment
    versions = ", ".join(f"{k} {v}" for k, v in where.get("versions", {}).items())
    lines = [
        f"**task**: {swept.task['name']}",
        f"**Machine:** {where.get('cpu')}, {where.get('cores')} cores",
        f"**Instructions:** {', '.join(where.get('flags', ()))}",
        f"**Versions:** {versions}",
        f"**Number of evaluation samples:** {swept.task['rows']}",
        f"**Settings:** {len(swept.settings)}, which make {swept.files} different files; those of "
        f"one file were measured once. The sweep took {words.duration(swept.seconds)}.",
    ]
    start = "> **Synthetic data.** The inputs were made up from the model's signature."
    warning = [start] if swept.task.get("synthetic") else []
    remarks = [f"> {escape_markdown(str(each))}" for each in swept.task.get("remarks", ())]
    return ["  \n".join(lines), *warning, *remarks]


def _listed(values: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A list of parameters, mappings as lists within it; dotted keys as the mapping they are."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        first, _, rest = key.partition(".")
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            nested[first] = value
    for key, value in nested.items():
        if key in LOCAL:
            value = str(value).rstrip("/").rsplit("/", 1)[-1]  # noqa: PLW2901
        if isinstance(value, dict):
            yield f"{indent}* **{key}**:"
            yield from _listed(value, f"{indent}    ")
        else:
            yield f"{indent}* **{key}**: `{shown(value)}`"


def _varied(swept: Swept) -> Iterator[str]:
    for key, values in swept.varied.items():
        yield f"* **{key}**: {', '.join(f'`{shown(value)}`' for value in values)}"


def _scores(swept: Swept) -> str:
    names = list(swept.varied)
    headers = [*names, *swept.metrics, "drop (95 %)", "size"]
    lines = [
        [
            *_values(setting, names),
            *(words.number(setting.metrics.get(metric)) for metric in swept.metrics),
            _drop(setting),
            words.size(setting.size_bytes),
        ]
        for setting in swept.settings
    ]
    return markdown_table(headers, lines, _sides(len(names), len(headers)))


def _sides(parameters: int, columns: int) -> list[Align]:
    return ["left" if column < parameters else "right" for column in range(columns)]


def _values(setting: SweptSetting, names: list[str]) -> list[str]:
    return [shown(setting.values.get(name)) for name in names]


def _drop(setting: SweptSetting) -> str:
    if setting.is_baseline or setting.drop is None or setting.drop_interval is None:
        return words.NOTHING
    low, high = setting.drop_interval
    value = setting.drop if round(setting.drop, 4) else 0.0
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def _times(swept: Swept) -> Iterator[str]:
    """A heading and a table for each batch size and length."""
    found = dict.fromkeys((t.batch, t.length) for s in swept.settings for t in s.timings)
    names = list(swept.varied)
    headers = [
        *names,
        "latency median (ms)",
        "latency mean (ms)",
        "throughput (/s)",
        "speed-up (95 %)",
    ]
    for batch, length in found:
        long = "" if length is None else f", input length = {length}"
        yield f"Below, time metrics for batch size = {batch}{long}."
        lines, floors = [], [0.0]
        for setting in swept.settings:
            timing = next(
                (t for t in setting.timings if (t.batch, t.length) == (batch, length)), None
            )
            lines.append([*_values(setting, names), *_cells(setting, timing)])
            floors += [timing.noise_floor or 0.0] if timing else []
        yield markdown_table(headers, lines, _sides(len(names), len(headers)))
        yield f"Largest noise floor: {words.percent(max(floors))}."


def _cells(setting: SweptSetting, timing: Timing | None) -> list[str]:
    if timing is None or timing.reason:
        return [words.NOTHING] * 4
    ratio = "1.00"
    if not setting.is_baseline:
        ends = timing.speedup_interval
        ratio = f"{timing.speedup:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else words.NOTHING
    return [
        words.milliseconds(timing.latency_ms.get("median")),
        words.milliseconds(timing.latency_ms.get("mean")),
        f"{timing.throughput:.1f}" if timing.throughput else words.NOTHING,
        ratio,
    ]


def _told(swept: Swept) -> Iterator[str]:
    """What was not measured, and what was measured otherwise than asked for, with the reasons."""
    failed: dict[str, list[str]] = {}
    for setting in swept.settings:
        reasons = [setting.reason, *(t.reason for t in setting.timings)]
        for reason in dict.fromkeys(r for r in reasons if r):
            failed.setdefault(reason, []).append(said(setting, swept))
    if failed:
        yield "# Not measured"
        yield "\n".join(_bullets(failed, "Settings"))
    other: dict[str, list[str]] = {remark: [] for remark in swept.remarks}
    for setting in swept.settings:
        for remark in setting.remarks:
            other.setdefault(remark, []).append(said(setting, swept))
    if other:
        yield "# Measured otherwise than asked for"
        yield "\n".join(_bullets(other, "Settings"))
    if swept.command:
        yield "# Reproduce"
        yield f"```console\n{printable(swept.command, '')}\n```"


def _bullets(told: dict[str, list[str]], what: str) -> Iterator[str]:
    for reason, settings in told.items():
        names = f" ({what}: {'; '.join(settings[:4])}" if settings else ""
        more = f" and {len(settings) - 4} more" if len(settings) > 4 else ""
        yield f"* {escape_markdown(f'{reason}{names}{more}')}{')' if settings else ''}"


def said(setting: SweptSetting, swept: Swept) -> str:
    """What tells a setting from the others."""
    parts = (f"{key.rsplit('.', 1)[-1]} {shown(setting.values.get(key))}" for key in swept.varied)
    return ", ".join(parts)
