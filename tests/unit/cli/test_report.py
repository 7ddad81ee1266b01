"""The command `report`: published tables from output folders, in four forms."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gossamer import plugins
from gossamer.report import document, sweep_document
from gossamer.result import Result
from gossamer.swept import Swept
from zoo import benches, results, sweeps

Call = Callable[..., Any]
TABLES = [n for n in plugins.names("formats") if not plugins.load("formats", n).is_in_folder]


def kept(folder: Path, study: Result | Swept) -> Path:
    """An output folder with this study in it."""
    folder.mkdir()
    if isinstance(study, Result):
        (folder / "result.json").write_text(document.text(document.document(study)))
    else:
        (folder / "sweep.json").write_text(sweep_document.text(study))
    return folder


def on(cpu: str, *flags: str, speedup: float = 2.91) -> Result:
    """The sample, measured on another machine."""
    found = results.sample()
    assert found.winner is not None
    best = dataclasses.replace(found.winner, speedup=speedup)
    environment = {**found.environment, "cpu": cpu, "flags": list(flags)}
    return dataclasses.replace(found, winner=best, environment=environment)


def rows(text: str) -> list[dict[str, str]]:
    """The rows of the first table of a CSV file, by heading."""
    lines = list(csv.reader(io.StringIO(text)))
    ends = [i for i, line in enumerate(lines) if line[0] == "table"]
    end = ends[1] if len(ends) > 1 else len(lines)
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:end]]


def test_the_formats_are_listed(call: Call) -> None:
    assert set(call("list", "formats").out.split()) >= {*TABLES, "card", "html", "json"}


def test_accuracy_ratio_and_gain_are_those_that_were_measured(call: Call, tmp_path: Path) -> None:
    out = kept(tmp_path / "a", results.sample())

    told = call("report", out, "--format", "neural_compressor", "--out", tmp_path / "t.csv")

    (row,) = rows((tmp_path / "t.csv").read_text())
    assert (told.code, told.out) == (0, "")
    assert float(row["accuracy INT8"]) == 0.8125  # the report split speaks
    assert float(row["accuracy ratio [(INT8-FP32)/FP32]"]) == pytest.approx(-0.0005 / 0.8130)
    assert float(row["performance gain [INT8/FP32]"]) == pytest.approx(0.294 / 0.101)
    assert float(row["gain low"]) < float(row["gain high"])
    assert row["table"] == "ort 1.31.1 on AMD EPYC 9V74 (VNNI), 2 threads, batch 1"


def test_machines_are_columns_of_one_row(call: Call, tmp_path: Path) -> None:
    outs = [
        kept(tmp_path / "a", on("Xeon", "avx512_vnni", speedup=3.5)),
        kept(tmp_path / "b", on("Core", "avx2", speedup=1.5)),
    ]

    told = call("report", *outs, "--format", "openvino", "--out", tmp_path / "t.json")

    drops, speedups = json.loads((tmp_path / "t.json").read_text())["tables"]
    assert told.code == 0
    names = [column["name"] for column in speedups["columns"]]
    assert names == ["model", "dataset", "metric", "runtime", "Xeon (VNNI)", "Core (AVX2)"]
    assert [row[4:] for row in speedups["rows"]] == [[3.5, 1.5]]
    assert [row[4:] for row in drops["rows"]] == [[pytest.approx(0.05), pytest.approx(0.05)]]


def test_a_machine_on_which_float_won_has_no_int8_numbers(call: Call, tmp_path: Path) -> None:
    out = kept(tmp_path / "a", results.float_win())

    call("report", out, "--format", "openvino", "--out", tmp_path / "t.csv")

    (row,) = rows((tmp_path / "t.csv").read_text())
    assert row["AMD EPYC 9V74 (VNNI)"] == ""


def test_variants_stand_beside_each_other(call: Call, tmp_path: Path) -> None:
    everywhere = results.measured("int8 everywhere", "ort", 0.14, 0.80, 280_000)
    found = results.sample()
    halves = {"graph-steps": [{"simplify": {}}, {"to-half": {"dtype": "bf16"}}]}
    candidates = [
        dataclasses.replace(c, recipe=halves) if c.label == "bf16" else c for c in found.candidates
    ]
    placement = {
        "uniform": everywhere.id,
        "mixed": results.winner().id,
        "speedup": 1.39,
        "speedup_interval": [1.37, 1.41],
        "noise_floor": 0.01,
    }
    study = dataclasses.replace(found, candidates=(*candidates, everywhere), placement=placement)

    told = call("report", kept(tmp_path / "a", study), "--format", "mixed-precision")

    for part in (
        "| float32 |",
        "| bf16 on openvino | openvino |",
        "| uniform INT8 |",
        "1.39 times as fast",
    ):
        assert part in told.out
    summary = told.out.split("## Summary")[1]
    assert "| resnet20.onnx | 2.91\u00d7 | 2.10\u00d7 | 0.05 | 1.35 |" in summary


def test_a_sweep_recommends_what_loses_nothing_for_certain(call: Call, tmp_path: Path) -> None:
    out = kept(tmp_path / "a", sweeps.sample())

    told = call("report", out, "--format", "neural-compressor", "--out", tmp_path / "t.csv")

    (row,) = rows((tmp_path / "t.csv").read_text())
    assert told.code == 0
    assert float(row["performance gain [INT8/FP32]"]) == 1.6
    assert row["table"].endswith("batch 1, length 32")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("study", [*results.RESULTS, "sweep"])
@pytest.mark.parametrize("suffix", [".md", ".html", ".csv", ".json"])
def test_every_table_is_written_in_every_form(
    call: Call, tmp_path: Path, name: str, study: str, suffix: str
) -> None:
    found = sweeps.sample() if study == "sweep" else results.RESULTS[study]()
    out, path = kept(tmp_path / "a", found), tmp_path / f"t{suffix}"

    assert call("report", out, out, "--format", name, "--out", path).code == 0
    assert path.read_text().endswith("\n")
    cells = path.read_text().split("<script>")[0]  # a script asks for NaN
    assert not {"nan", "NaN", "None"} & set(re.findall(r"\w+", cells))


def test_the_card_of_a_sweep_holds_evaluation_results(call: Call, tmp_path: Path) -> None:
    told = call("report", kept(tmp_path / "a", sweeps.sample()))

    front = yaml.safe_load(told.out.split("---\n")[1])
    (found,) = front["model-index"][0]["results"]
    assert told.code == 0
    assert found["dataset"] == {"type": "sst2", "name": "sst2", "split": "sst2_dev"}
    assert [m["value"] for m in found["metrics"]] == [0.89, 0.885, 0.85]
    assert "no such kernel" in told.out


def test_a_sweep_and_a_benchmark_have_pages(call: Call, tmp_path: Path) -> None:
    swept = call("report", kept(tmp_path / "a", sweeps.sample()), "--format", "html")
    (tmp_path / "bench.json").write_text(json.dumps(benches.sample()))
    path = tmp_path / "bench.html"
    timed = call("report", tmp_path / "bench.json", "--format", "html", "--out", path)

    assert swept.code == timed.code == 0
    assert "2.10\u00d7 as fast as float" not in swept.out
    assert "1.60\u00d7 as fast as float, and no loss that is certain." in swept.out
    assert swept.out.count("<figure>") == 2
    assert path.read_text().count("<figure>") == 4


def test_a_benchmark_is_a_page_of_its_own(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(benches.sample()))
    (tmp_path / "other.json").write_text("{}")

    said = [
        call("report", tmp_path / "bench.json"),
        call("report", tmp_path / "bench.json", tmp_path / "bench.json", "--format", "html"),
        call("report", tmp_path / "other.json", "--format", "html"),
    ]

    assert [found.code for found in said] == [2, 2, 2]
    assert all("bench --json" in " ".join(found.err.split()) for found in said)


def test_what_compress_writes_is_written_again(call: Call, finished: Path) -> None:
    told = call("report", finished, "--format", "json")

    assert told.document == json.loads((finished / "result.json").read_text())
    assert call("report", finished, "--format", "neural-compressor").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "neural-compresor"), "Did you mean neural-compressor"),
        (("--format", "openvino", "--out", "t.txt"), ".md, .html, .csv, .json"),
    ],
)
def test_what_cannot_be_written_is_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("report", kept(tmp_path / "a", sweeps.sample()), *options)

    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_folders_without_a_finished_study_are_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "study.db").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sweep.json").write_text('{"schema_version": 1}')

    said = {n: call("report", tmp_path / n) for n in ("empty", "begun", "broken", "absent")}

    assert {found.code for found in said.values()} == {2}
    assert "holds neither" in said["empty"].err
    assert "--resume" in said["begun"].err
    assert "the document of a sweep" in said["broken"].err


def test_a_card_is_of_one_folder(call: Call, tmp_path: Path) -> None:
    outs = [kept(tmp_path / n, sweeps.sample()) for n in "ab"]

    assert "one output folder for the format card" in " ".join(call("report", *outs).err.split())


def test_results_of_a_benchmark_are_a_file_for_a_model_repository(
    call: Call, tmp_path: Path
) -> None:
    out, path = kept(tmp_path / "a", results.sample()), tmp_path / ".eval_results" / "b.yaml"

    told = call("report", out, "--benchmark", "org/bench:task", "--out", path)
    refused = call("report", out, out, "--benchmark", "org/bench:task")

    assert (told.code, told.out, refused.code) == (0, "", 2)
    assert yaml.safe_load(path.read_text())[0]["dataset"] == {"id": "org/bench", "task_id": "task"}
    assert "report each folder by itself" in " ".join(refused.err.split())


def test_the_document_holds_distributions_and_how_sites_are_stored(finished: Path) -> None:
    document = json.loads((finished / "result.json").read_text())
    measured = [c for c in document["candidates"] if c["status"] == "ok"]
    static = [c for c in measured if c["label"].startswith("static")]

    for candidate in measured:
        spread, told = candidate["latency_quantiles"], candidate["latency_ms"]
        assert len(spread) == 41
        assert spread == sorted(spread)
        assert spread[20] == pytest.approx(told["median"], abs=1e-5)
        assert spread[36] == pytest.approx(told["p90"], abs=1e-5)
        assert len(candidate["storage"]) == len(candidate["plan"])
    assert any("weight s8" in text for c in static for text in c["storage"])
