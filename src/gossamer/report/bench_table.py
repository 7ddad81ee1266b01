"""The rows of `bench` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.report.table import markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.report.table import Align

Row = dict[str, Any]


def table(document: dict[str, Any]) -> str:
    """A Markdown table of what was measured; columns of what no row has are left out."""
    rows = document["rows"]
    columns = [(head, cell) for head, has, cell in _COLUMNS if any(has(row) for row in rows)]
    lines = [[cell(row) if _fits(head, row) else "" for head, cell in columns] for row in rows]
    sides: list[Align] = ["left" if i < 2 else "right" for i in range(len(columns))]
    return markdown_table([head for head, _ in columns], lines, sides)


def operator_tables(document: dict[str, Any]) -> str:
    """Two tables for each model: its types of operators, and its slowest nodes."""
    parts = []
    for entry in document.get("operators", ()):
        head = f"{entry['model']} on {entry['runtime']}, {entry['batch']} x {entry['length']}"
        if not entry["types"]:
            parts.append(f"{head}: the runtime does not tell.\n")
            continue
        types = [
            [t["operator"], str(t["nodes"]), f"{t['ms']:.3f}", f"{100 * t['share']:.1f} %"]
            for t in entry["types"]
        ]
        nodes = [
            [n["name"], n["operator"], n["kernel"], f"{n['ms']:.3f}", f"{100 * n['share']:.1f} %"]
            for n in entry["slowest"]
        ]
        sides: tuple[Align, ...] = ("left", "right", "right", "right")
        parts += [
            f"{head}: {entry['total_ms']:.3f} ms in operators\n",
            markdown_table(["operator", "nodes", "ms", "share"], types, sides),
            markdown_table(
                ["node", "operator", "kernel", "ms", "share"],
                nodes,
                ("left", "left", "left", "right", "right"),
            ),
        ]
    return "\n".join(parts)


def _fits(head: str, row: Row) -> bool:
    return next(has(row) for name, has, _ in _COLUMNS if name == head)


def _always(_: Row) -> bool:
    return True


def _is_loaded(row: Row) -> bool:
    return "load" in row


def _has_rate(row: Row) -> bool:
    return _is_loaded(row) and row["load"]["rate"] is not None


def _instances(row: Row) -> str:
    load = row["load"]
    inside = " in parallel" if load["parallel"] else ""
    return f"{load['instances']} × {load['cores_per_instance']}{inside}"


def _ratio(row: Row) -> str:
    low, high = row["ratio_interval"]
    return f"{row['ratio']:.2f} [{low:.2f}, {high:.2f}]"


_COLUMNS: tuple[tuple[str, Callable[[Row], bool], Callable[[Row], str]], ...] = (
    ("model", _always, lambda row: row["model"]),
    ("runtime", _always, lambda row: row["runtime"]),
    ("batch", _always, lambda row: str(row["batch"])),
    ("length", _always, lambda row: str(row["length"])),
    ("instances × cores", _is_loaded, _instances),
    ("rate", _has_rate, lambda row: f"{row['load']['rate']:g}"),
    ("median ms", _always, lambda row: f"{row['latency_ms']['median']:.3f}"),
    ("p99 ms", _always, lambda row: f"{row['latency_ms']['p99']:.3f}"),
    ("service ms", _has_rate, lambda row: f"{row['load']['service_ms']:.3f}"),
    ("unanswered", _has_rate, lambda row: str(row["load"]["unanswered"])),
    (
        "cold start ms",
        lambda row: "cold_start_ms" in row,
        lambda row: f"{row['cold_start_ms']['median']:.0f}",
    ),
    ("per second", _always, lambda row: f"{row['throughput']:.1f}"),
    ("MB", _always, lambda row: f"{row['peak_rss_bytes'] / 1e6:.0f}"),
    ("ratio", _always, _ratio),
)
