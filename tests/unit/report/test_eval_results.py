"""Evaluation results as `huggingface_hub` reads them: in cards, and for leaderboards."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gossamer.errors import RecipeError
from gossamer.report import eval_results, studies, sweep_card
from gossamer.report.formats.card import Card
from zoo import results, sweeps

hub = pytest.importorskip("huggingface_hub")


def read(card: str) -> list[Any]:
    """The evaluation results of a card, validated as for an upload."""
    found = hub.ModelCard(card).data
    assert isinstance(found, hub.ModelCardData)
    assert found.to_dict()["model-index"] == yaml.safe_load(card.split("---\n")[1])["model-index"]
    return list(found.eval_results)


def test_the_hub_reads_the_score_of_a_compressed_model() -> None:
    (found,) = read(Card().render(results.sample()))

    assert (found.task_type, found.metric_type, found.metric_value) == (
        *("classification", "accuracy", 0.8125),
    )
    assert (found.dataset_type, found.dataset_name) == ("custom", "cifar10")
    assert found.dataset_split == "report"


@pytest.mark.parametrize("kind", ["float win", "best effort"])
def test_the_hub_reads_every_card_with_a_score(kind: str) -> None:
    (found,) = read(Card().render(results.RESULTS[kind]()))

    assert found.dataset_type == ("synthetic" if kind == "best effort" else "custom")


def test_the_hub_reads_the_score_of_every_setting_of_a_sweep() -> None:
    found = read(sweep_card.card(sweeps.sample()))

    assert [each.metric_value for each in found] == [0.89, 0.885, 0.85]
    assert {(each.dataset_type, each.dataset_split) for each in found} == {("sst2", "sst2_dev")}
    assert len({each.metric_name for each in found}) == 3


def test_a_leaderboard_gets_the_score_of_the_report_split() -> None:
    text = eval_results.text(studies.of_result(results.sample()), "org/bench:task-1")

    written = yaml.safe_load(text)
    (entry,) = hub.parse_eval_result_entries(written)
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/bench", "task-1", 0.8125)
    assert "accuracy of static percentile on ort, by gossamer" in entry.notes
    assert hub.eval_result_entries_to_yaml([entry]) == written


@pytest.mark.parametrize("benchmark", ["", "glue", "org/bench", "org/bench:", "a b/c:d"])
def test_what_names_no_benchmark_is_refused(benchmark: str) -> None:
    with pytest.raises(RecipeError, match="It is the id of a data set"):
        eval_results.text(studies.of_result(results.sample()), benchmark)


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (studies.of_sweep(sweeps.sample()), "keeps no model"),
        (studies.of_result(results.best_effort()), "inputs that were made up"),
        (studies.of_result(results.failed()), "a model with a score"),
    ],
)
def test_a_study_without_such_a_score_is_refused(study: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        eval_results.text(study, "org/bench:task")
