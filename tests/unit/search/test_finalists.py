"""Who is timed once more: the fastest, and one of those that run the same kernels."""

from __future__ import annotations

from typing import Any

from gossamer.result import Candidate
from gossamer.search.finalists import finalists


def candidate(name: str, speedup: float, changed: float, **recipe: Any) -> Candidate:
    return Candidate(
        id=name,
        status="ok",
        runtime="ort",
        target="ort-cpu",
        label=name,
        recipe={"precision": "default", **recipe},
        within_budget=True,
        path=name,
        speedup=speedup,
        changed=changed,
    )


def static(ranges: str) -> dict[str, Any]:
    return {"graph-steps": [{"quantize-static": {"ranges": ranges}}]}


def test_of_those_that_differ_in_ranges_alone_it_is_the_closest_to_float() -> None:
    known = [
        candidate("fast", 2.1, 0.02, **static("mse")),
        candidate("close", 2.0, 0.01, **static("min-max")),
    ]

    assert [c.id for c in finalists(known)] == ["close"]


def test_modules_of_other_sizes_are_not_the_same_kernels() -> None:
    known = [
        candidate(
            f"{share}",
            1 / share,
            1 - share,
            **static("mse"),
            **{"module-steps": [{"shrink": {"max-macs": share}}]},
        )
        for share in (0.8, 0.5)
    ]

    assert [c.id for c in finalists(known)] == ["0.5", "0.8"]
