"""The contract of the command line: exit codes, documents, files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from gossamer import plugins
from gossamer.store import Study

TOP = {
    "schema_version", "gossamer", "verdict", "reason", "model", "task", "max_drop", "environment",
    "calibration", "baseline", "winner", "candidates", "seconds",
}  # fmt: skip
CANDIDATE = {
    "id", "status", "reason", "runtime", "target", "recipe", "score", "drop", "relative_drop",
    "within_budget", "report_score", "report_drop", "report_interval", "latency_ms", "speedup",
    "speedup_interval", "same_runtime_speedup", "throughput", "size_bytes", "peak_rss_bytes",
    "path",
}  # fmt: skip
OUT = {
    "model", "recipe.yaml", "README.md", "report.html", "result.json", "candidates", "study.db",
    "cache",
}  # fmt: skip
ROW = {
    "model", "runtime", "batch", "length", "latency_ms", "throughput", "peak_rss_bytes",
    "size_bytes", "ratio", "ratio_interval", "noise_floor",
}  # fmt: skip


@pytest.fixture(scope="module")
def command(model: Path, data: Path) -> list[object]:
    """The command that made `finished`, without --out."""
    return ["compress", model, "--data", data, "--target", "ort_cpu", "--max-drop", "5%",
            "--trials", 3, "--threads", 1]  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_output_folder_holds_what_the_contract_says(finished: Path) -> None:
    assert {p.name for p in finished.iterdir()} == OUT
    assert (finished / "model" / "model.onnx").is_file()


def test_the_document_has_the_keys_of_the_contract(finished: Path) -> None:
    document = json.loads((finished / "result.json").read_text())

    assert document.keys() >= TOP
    assert document["schema_version"] == 1
    assert document["verdict"] in {"met", "best_effort"}
    assert document["task"].keys() >= {"name", "metric", "higher_is_better", "synthetic", "splits"}
    assert document["task"]["splits"] == {"calibration": 48, "search": 24, "report": 24}
    assert document["environment"].keys() >= {"cpu", "flags", "threads", "versions"}
    assert document["calibration"].keys() >= {
        "samples", "seconds", "plain_seconds", "peak_rss_bytes", "plain_rss_bytes",
    }  # fmt: skip
    assert document["calibration"]["samples"] == 48
    for candidate in (document["baseline"], document["winner"], *document["candidates"]):
        assert candidate.keys() >= CANDIDATE
        if candidate["status"] == "ok":
            assert candidate["latency_ms"].keys() >= {"median", "p90", "p99", "n"}


def test_candidates_are_named_by_digest_once_and_float_baselines_have_no_steps(
    finished: Path,
) -> None:
    document = json.loads((finished / "result.json").read_text())
    names = [c["id"] for c in document["candidates"]]
    floats = [
        c
        for c in document["candidates"]
        if not c["recipe"]["graph-steps"] and c["recipe"]["precision"] == "f32"
    ]

    assert len(names) == len(set(names))
    assert [c["id"] for c in floats] == [document["baseline"]["id"]]
    assert document["baseline"]["speedup"] == 1.0
    assert document["baseline"]["drop"] == 0.0


def test_trials_count_what_is_tried_besides_the_baselines(finished: Path) -> None:
    document = json.loads((finished / "result.json").read_text())
    tried = [c for c in document["candidates"] if c["status"] != "skipped"]

    assert len(tried) <= 3 + 1
    assert all(c["reason"] for c in document["candidates"] if c["status"] == "skipped")


def test_files_that_were_not_kept_have_no_path_and_the_best_of_a_runtime_is_kept(
    finished: Path,
) -> None:
    document = json.loads((finished / "result.json").read_text())
    kept = {c["path"] for c in document["candidates"] if c["path"]}

    measured = {c["id"] for c in document["candidates"] if c["status"] == "ok"}
    files = {p.parent.name: p for p in (finished / "candidates").glob("*/*.onnx")}
    assert {f"candidates/{name}" for name in files} == kept
    assert measured == {p.parent.name for p in finished.glob("candidates/*/measurement.npz")}
    assert document["winner"]["path"] == "model"
    assert set(document["winner"]["files"]) <= {p.name for p in (finished / "model").iterdir()}
    within = [c for c in document["candidates"] if c["within_budget"] and c["status"] == "ok"]
    assert max(within, key=lambda c: c["speedup"])["path"] in kept


def test_the_winner_is_the_model_and_loads_in_the_plain_runtime(finished: Path) -> None:
    import onnxruntime

    document = json.loads((finished / "result.json").read_text())
    session = onnxruntime.InferenceSession(
        str(finished / "model" / "model.onnx"), providers=["CPUExecutionProvider"]
    )

    assert [i.name for i in session.get_inputs()] == ["image"]
    assert [o.name for o in session.get_outputs()] == ["logits"]
    assert session.get_inputs()[0].shape[0] == "batch"
    assert hashes(finished / "model") == document["winner"]["files"]


def test_the_recipe_makes_the_same_files_again(finished: Path, tmp_path: Path, call) -> None:
    done = call("run", finished / "recipe.yaml", "--out", tmp_path / "again")

    assert done.code == 0, done.err
    assert hashes(tmp_path / "again" / "model") == hashes(finished / "model")
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())
    assert recipe.keys() >= {"source", "task", "data", "recipe"}
    assert recipe["data"]["data"].keys() == {"path", "sha256"}


@pytest.mark.parametrize(
    ("key", "changed"), [("source", {"digest": "0" * 64}), ("data", {"sha256": "0" * 64})]
)
def test_what_changed_since_is_told_and_nothing_is_written(
    key: str, changed: dict[str, str], finished: Path, tmp_path: Path, call
) -> None:
    record = yaml.safe_load((finished / "recipe.yaml").read_text())
    candidates = json.loads((finished / "result.json").read_text())["candidates"]
    record["recipe"] = next(c["recipe"] for c in candidates if c["label"].startswith("static"))
    (record["source"] if key == "source" else record["data"]["data"]).update(changed)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(record))

    told = call("run", tmp_path / "recipe.yaml", "--out", tmp_path / "again")

    assert told.code == 2
    assert f"the {'model' if key == 'source' else 'data'} of the recipe" in told.err
    assert not (tmp_path / "again").exists()


def test_every_split_is_recorded_by_the_numbers_of_its_rows(finished: Path) -> None:
    splits = Study(finished / "study.db").get("splits") or {}
    document = json.loads((finished / "result.json").read_text())

    assert {k: len(v) for k, v in splits.items()} == document["task"]["splits"]
    rows = [i for split in splits.values() for i in split]
    assert sorted(rows) == list(range(len(rows)))


def test_python_does_what_the_command_line_does(
    finished: Path, model: Path, data: Path, tmp_path: Path, call
) -> None:
    import gossamer

    again = gossamer.rerun(finished / "recipe.yaml", tmp_path / "again")
    scored = gossamer.evaluate(finished, task="fidelity", data=data)
    timed = gossamer.bench([model], runtimes=["ort"], seconds=0.1)

    assert hashes(again.folder) == hashes(finished / "model")
    told = call("eval", finished, "--task", "fidelity", "--data", data, "--json")
    assert scored == told.document
    assert [row["runtime"] for row in timed["rows"]] == ["ort"]
    assert list(gossamer.inspect(model)) == call("inspect", model).out.splitlines()
    assert (
        list(gossamer.explain(model, targets=["ort-cpu"]))
        == call("explain", model, "--target", "ort-cpu").out.splitlines()
    )


def test_a_static_candidate_is_made_again_to_the_bit(finished: Path, tmp_path: Path, call) -> None:
    record = yaml.safe_load((finished / "recipe.yaml").read_text())
    document = json.loads((finished / "result.json").read_text())
    static = [
        c
        for c in document["candidates"]
        if c["status"] == "ok" and any("quantize-static" in s for s in c["recipe"]["graph-steps"])
    ]
    record["recipe"] = static[0]["recipe"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(record))

    assert call("run", tmp_path / "recipe.yaml", "--out", tmp_path / "again").code == 0
    assert hashes(tmp_path / "again" / "model") == static[0]["files"]


def test_resuming_what_is_finished_prints_its_result_and_changes_nothing(
    finished: Path, command: list[object], call
) -> None:
    before = hashes(finished)

    done = call(*command, "--out", finished, "--resume", "--json")

    assert done.document == json.loads((finished / "result.json").read_text())
    assert done.code == {"met": 0, "best_effort": 1}[done.document["verdict"]]
    assert hashes(finished) == before


def test_an_existing_folder_is_an_error_and_stays_as_it_is(
    finished: Path, command: list[object], call
) -> None:
    before = hashes(finished)

    done = call(*command, "--out", finished, "--json")

    assert done.code == 2
    assert done.document["verdict"] == "failed"
    assert done.document["error"].keys() >= {"type", "message", "needed", "received", "hint"}
    assert "--resume" in done.document["error"]["hint"]
    assert done.err == ""
    assert hashes(finished) == before


def test_resuming_with_another_request_is_an_error(finished: Path, model: Path, call) -> None:
    done = call("compress", model, "--out", finished, "--resume", "--json")

    assert done.code == 2
    assert "max_drop" in done.document["error"]["received"]


def test_a_dry_run_lists_candidates_and_writes_nothing(
    model: Path, tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = call("compress", model, "--dry-run", "--target", "ort-cpu", "--json")

    assert done.code == 0
    labels = [c["label"] for c in done.document["candidates"]]
    assert labels[0] == "float32"
    assert {"static mse", "dynamic"} <= set(labels)
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_is_a_candidate_only_where_the_cpu_has_it() -> None:
    from gossamer.search import ladder

    def labels(*flags: str) -> list[str]:
        return [r.label for r in ladder.ladder(("openvino-cpu",), "portable", flags, 0, {})]

    assert "bf16" in labels("avx2", "amx_bf16")
    assert "bf16" not in labels("avx2", "avx512f")


@pytest.mark.slow
def test_compress_prints_only_the_document_and_says_nothing_beside_it(
    command: list[object], tmp_path: Path, call
) -> None:
    done = call(*command, "--out", tmp_path / "out", "--json", "--trials", 1)

    assert done.code in {0, 1}
    assert done.document == json.loads((tmp_path / "out" / "result.json").read_text())
    assert done.err == ""


def test_eval_gives_the_score_over_all_rows(model: Path, data: Path, call) -> None:
    done = call("eval", model, "--task", "classification", "--data", data, "--json")

    assert done.code == 0, done.out
    assert done.document.keys() == {
        *("schema_version", "task", "metric", "score", "metrics", "n", "remarks"),
    }
    assert done.document["n"] == 96
    assert 0 <= done.document["score"] <= 1
    assert done.err == ""


def test_eval_reads_the_winner_from_an_output_folder(finished: Path, data: Path, call) -> None:
    done = call("eval", finished, "--task", "classification", "--data", data)

    assert done.code == 0, done.err
    assert "accuracy" in done.out


def test_bench_gives_a_row_for_every_model_runtime_batch_and_length(
    model: Path, finished: Path, call
) -> None:
    quantized = finished / "model" / "model.onnx"

    done = call(
        "bench", model, quantized, "--runtime", "ort", "--batch", "4", "--seconds", 0.1, "--json"
    )

    assert done.code == 0, done.out
    assert done.document.keys() == {"schema_version", "environment", "rows"}
    rows = done.document["rows"]
    assert [(r["model"], r["batch"]) for r in rows] == [
        (str(model), 4), (str(quantized), 4),
    ]  # fmt: skip
    assert all(row.keys() == ROW for row in rows)
    assert rows[0]["ratio"] == 1.0
    assert rows[0]["size_bytes"] == model.stat().st_size
    assert done.err == ""


def test_the_size_of_a_model_is_that_of_its_own_files(model: Path, tmp_path: Path) -> None:
    from gossamer.evaluate import files_of
    from zoo import runnable

    found = runnable.affine(tmp_path, external="affine.onnx.data")
    (tmp_path / "affine.onnx.backup").write_bytes(b"another file")

    assert files_of(found) == [found, tmp_path / "affine.onnx.data"]
    assert files_of(model) == [model]


@pytest.mark.parametrize("family", sorted(plugins.FAMILIES))
def test_list_names_the_members_of_a_family(family: str, call) -> None:
    done = call("list", family)

    assert tuple(line.split()[0] for line in done.out.splitlines()) == plugins.names(family)
    assert family in call("list").out


def test_explain_says_what_happens_at_every_site(model: Path, finished: Path, call) -> None:
    told = call("explain", model, "--target", "ort_cpu")
    assert told.code == 0, told.err
    assert "quantized" in told.out

    assert call("explain", finished).code == 0


def test_explain_cannot_exclude_from_what_is_made(finished: Path, call) -> None:
    told = call("explain", finished, "--exclude", "Conv")
    assert told.code == 2
    assert "a model, where --exclude is given" in told.err


def test_explain_counts_what_is_kept_in_float(model: Path, call) -> None:
    told = call(
        "explain", model, "--target", "ort_cpu", "--exclude", "Conv", "--exclude", "softmax"
    )
    assert told.code == 2
    assert "'softmax', which matches no node" in told.err

    told = call("explain", model, "--target", "ort_cpu", "--exclude", "Conv")
    assert "kept in float: Conv 2 nodes" in told.out
    assert told.out.count("the recipe excludes Conv") == 2


@pytest.mark.parametrize("step", ["quantize-static", "quantize-dynamic"])
def test_what_is_excluded_is_part_of_every_int8_candidate(step: str, model: Path, call) -> None:
    plain, other = (
        call("compress", model, "--dry-run", "--target", "ort_cpu", *more, "--json").document
        for more in ((), ("--exclude", "Conv"))
    )
    steps = [s for c in other["candidates"] for s in c["recipe"]["graph-steps"] if step in s]
    assert steps
    assert all(s[step]["exclude"] == ["Conv"] for s in steps)
    ids = [{c["id"] for c in found["candidates"]} for found in (plain, other)]
    assert len(ids[0] & ids[1]) == len(ids[0]) - len(ids[0] - ids[1]) < len(ids[0])


@pytest.mark.slow
def test_a_run_that_excludes_is_made_again_to_the_bit(
    model: Path, data: Path, tmp_path: Path, call
) -> None:
    out = tmp_path / "out"
    common = ("--data", data, "--target", "ort_cpu", "--max-drop", "20%", "--trials", 2)
    done = call("compress", model, *common, "--exclude", "MatMul", "--out", out, "--json")
    assert done.code == 0, done.err
    candidate = next(c for c in done.document["candidates"] if c["label"] == "static mse")
    assert {tuple(row[1:3]) for row in candidate["plan"] if row[1] == "MatMul"} == {
        ("MatMul", "excluded")
    }
    record = yaml.safe_load((out / "recipe.yaml").read_text())
    record["recipe"] = candidate["recipe"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(record))
    assert call("run", tmp_path / "recipe.yaml", "--out", tmp_path / "again").code == 0
    assert hashes(tmp_path / "again" / "model") == candidate["files"]


def test_inspect_shows_inputs_outputs_and_operators(model: Path, call) -> None:
    done = call("inspect", model)

    assert done.code == 0
    assert "image: float32[batch, 3, 16, 16]" in done.out
    assert "2 Conv" in done.out


def test_underscores_in_options_are_dashes(model: Path, call) -> None:
    done = call("compress", model, "--dry_run", "--max_drop", "2%", "--target", "ort_cpu")

    assert done.code == 0, done.err


def test_the_version_is_the_package_s(call) -> None:
    assert call("--version").out.startswith("gossamer")
