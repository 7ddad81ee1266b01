"""Evaluation results for the leaderboard of a benchmark, as Hugging Face keeps them.

A file `.eval_results/*.yaml` of a model repository holds them, as
<https://huggingface.co/docs/hub/eval-results> says: the benchmark is a data set of the hub, the
task is one of those that its `eval.yaml` names, the value is the score.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import yaml

from gossamer.errors import RecipeError
from gossamer.swept import Swept

if TYPE_CHECKING:
    from gossamer.published import Study

BENCHMARK = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+):([\w.-]+)")


def text(study: Study, benchmark: str) -> str:
    """The file for what a compress chose.

    Args:
        study: Of a compress.
        benchmark: The data set on the hub and the task in its `eval.yaml`: `cais/hle:hle`. Nobody
            but the user knows whether the data was that of the benchmark.

    Raises:
        RecipeError: No such text, or a study that says nothing about a benchmark.
    """
    named = BENCHMARK.fullmatch(benchmark)
    if named is None:
        raise RecipeError(
            "a benchmark like cais/hle:hle",
            repr(benchmark),
            "It is the id of a data set on the Hugging Face hub, and a task of its eval.yaml.",
        )
    if isinstance(study.source, Swept):
        raise RecipeError(
            "the output folder of a compress, for evaluation results of its model",
            "that of a sweep, which keeps no model",
            "Compress the model, then report that folder.",
        )
    if study.synthetic:
        raise RecipeError(
            "a score on the data of the benchmark",
            "one on inputs that were made up",
            "Compress again with --data.",
        )
    best = study.chosen
    if best is None or best.score is None:
        raise RecipeError("a model with a score", "none", f"See why in {study.source.out}.")
    dataset, task = named.groups()
    entry: dict[str, Any] = {
        "dataset": {"id": dataset, "task_id": task},
        "value": best.score,
        "notes": f"{study.metric} of {best.label} on {best.runtime}, "
        f"by gossamer {version('gossamer')}",
    }
    return yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
