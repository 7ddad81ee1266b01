"""One row of the table: gossamer, its peers and the float model on one machine, interleaved."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import judges
import peers
from cases import Case
from gossamer.measure.environment import environment
from gossamer.measure.measure import Comparison, Contender, measure_latency, ratio
from gossamer.runtime import Feed
from gossamer.source import FloatModel
from gossamer.task import example

ROOT = Path(__file__).resolve().parents[1]
RUNTIMES = ("ort", "openvino")
FLOAT = "float32"
SECONDS = 1.0  # at least so long is every file timed
PEER_ROWS = 128
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the inputs of a row lie and its files go.

    Attributes:
        real: Folder of the real models.
        cache: Folder of this row.
        more: Further arguments for `gossamer compress`.
    """

    real: Path
    cache: Path
    more: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class Entry:
    """A file on a runtime: how it scores, and how fast it is.

    Attributes:
        who: float32, gossamer, or the name of a peer; `peer+` is a peer that was helped.
    """

    who: str
    runtime: str
    path: Path
    score: Row
    label: str = ""
    precision: str = "default"
    is_correct: bool = True

    @property
    def name(self) -> str:
        """The name in the interleaved run."""
        return f"{self.who} on {self.runtime}"


def measure(case: Case, place: Place) -> Row:
    """Everything that was found out, as it is written to results/<name>.json."""
    started = time.monotonic()
    place.cache.mkdir(parents=True, exist_ok=True)
    model, path = _float_model(case, place)
    document, command = _compressed(case, place)
    floats = [
        Entry(
            who=FLOAT,
            runtime=runtime,
            path=path,
            precision="f32",
            score=_score(case, place, path, runtime, model),
        )
        for runtime in RUNTIMES
    ]
    reference = floats[0].score
    ours = list(_ours(case, place, document, model, reference))
    rows = _peer_rows(case, place, model)
    feed = _feed(rows, model)
    records, others = _peers(case, place, (path, model, rows), reference)
    usable = [e for e in (*floats, *ours, *others) if "reason" not in e.score]
    timed = _timed(usable, feed)
    return _clean(
        {
            "schema_version": 1,
            "name": case.name,
            "judge": case.judge or "fidelity",
            "tolerance": case.tolerance,
            "commands": [command, f"python benchmarks/run.py --only {case.name}"],
            "environment": _environment(),
            "gossamer": {k: document[k] for k in ("verdict", "reason", "task", "calibration")}
            | {"seconds": document["seconds"]},
            "entries": [_entry(e, timed, reference) for e in (*floats, *ours, *others)],
            "peers": records,
            "comparison": _comparison(usable, timed, _chosen(document["winner"])),
            "noise_floor": timed.noise_floor,
            "seconds": round(time.monotonic() - started, 1),
        }
    )


def _float_model(case: Case, place: Place) -> tuple[FloatModel, Path]:
    """The model as gossamer opens it, and the ONNX file that a user of a peer would have."""
    from gossamer.sources import find

    source = case.source(place.real)
    model = find(source).open(place.cache / "float")
    return model, Path(source) if source.endswith(".onnx") else model.path


def _compressed(case: Case, place: Place) -> tuple[Row, str]:
    """The result document of `gossamer compress`, and the command line."""
    out = place.cache / "ours"
    arguments = ["compress", case.source(place.real), *case.arguments]
    if data := _data(case, place):
        arguments += ["--data", str(data)]
    arguments += ["--out", str(out), "--overwrite", *place.more]
    code = "import sys; from gossamer.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    document: Row = json.loads(done.stdout)
    if document["verdict"] == "failed":
        raise RuntimeError(document.get("error") or document["reason"])
    return document, " ".join(["gossamer", *arguments])


def _data(case: Case, place: Place) -> Path | None:
    if case.data:
        return place.real / case.data
    return _judge_rows(case, place, "data", case.rows) if case.judge else None


def _judge_rows(case: Case, place: Place, name: str, count: int, form: str = "") -> Path:
    """Rows that the judge does not score, written by it."""
    out = place.cache / (f"{name}.npz" if (form or case.form) == "npz" else name)
    if not out.exists():
        command = [sys.executable, str(place.real / "score.py"), str(case.judge)]
        command += ["--calibration", str(out), "--limit", str(count)]
        if not case.source(place.real).endswith(
            ".onnx"
        ):  # a Hugging Face folder: the judge needs its export
            command += ["--model", str(_float_model(case, place)[1])]
        subprocess.run(command, check=True)
    return out


def _peer_rows(case: Case, place: Place, model: FloatModel) -> Path:
    """A folder with one .npz for each of the 128 rows that peers calibrate with."""
    rows = place.cache / "rows"
    if rows.exists():
        return rows
    if case.judge:
        made = _judge_rows(case, place, "rows", PEER_ROWS, "folder")
        names = {t.name for t in model.inputs}
        for file in made.glob("*.npz"):
            with np.load(file) as archive:
                feed = {k: archive[k] for k in archive.files if k in names}
            np.savez(file, **feed)
        return rows
    from gossamer.task import DataRequest
    from gossamer.tasks import choose

    data = choose("fidelity", model, {}, has_data=False).open(DataRequest(model=model))
    rows.mkdir()
    for i, feed in enumerate(data.calibration.feeds()):
        np.savez(rows / f"{i:05}.npz", **feed)
    return rows


def _feed(rows: Path, model: FloatModel) -> Feed:
    with np.load(min(rows.glob("*.npz"))) as archive:
        sample = {name: archive[name] for name in archive.files}
    return example(model.inputs, sample, 1, 128)


def _score(case: Case, place: Place, file: Path, runtime: str, model: FloatModel) -> Row:
    if case.judge:
        arguments = ["--pair", case.judge, "--real", str(place.real)]
    else:
        cache = place.cache / "judge"
        arguments = ["--float", str(model.path.absolute()), "--cache", str(cache.absolute())]
    return judges.judge(file, runtime, arguments)


def _is_correct(case: Case, reference: Row, found: Row) -> bool:
    return "reason" not in found and judges.loss(reference, found) <= case.tolerance + 1e-9


def _ours(
    case: Case, place: Place, document: Row, model: FloatModel, reference: Row
) -> Iterator[Entry]:
    """The winner, and for other runtimes the fastest file within the budget if there is one."""
    for runtime in RUNTIMES:
        kept = [
            c
            for c in document["candidates"]
            if c["runtime"] == runtime
            and c["status"] == "ok"
            and c["within_budget"]
            and c["path"]
            and not _is_plain_float(c["recipe"])
        ]
        if not kept:
            continue
        best = max(kept, key=lambda c: (c["id"] == document["winner"]["id"], c["speedup"]))
        folder = place.cache / "ours" / best["path"]
        file = folder / ("model.xml" if runtime == "openvino" else "model.onnx")
        score = _score(case, place, file, runtime, model)
        yield Entry(
            who="gossamer",
            runtime=runtime,
            path=file,
            label=best["label"],
            precision=best["recipe"].get("precision", "default"),
            score=score,
            is_correct=_is_correct(case, reference, score),
        )


def _chosen(winner: Row) -> str | None:
    return None if _is_plain_float(winner["recipe"]) else str(winner["runtime"])


def _is_plain_float(recipe: Row) -> bool:
    return not recipe.get("graph-steps") and recipe.get("precision") == "f32"


def _peers(
    case: Case, place: Place, given: tuple[Path, FloatModel, Path], reference: Row
) -> tuple[dict[str, Row], list[Entry]]:
    """What came of each peer; one that fails or loses is called again on a file made easier."""
    path, model, rows = given
    records, entries = {}, []
    for peer in peers.PEERS:
        records[peer], found = _peer(case, place, (peer, path, model, rows), reference)
        entries += found
        if peer in peers.READS_ONNX and not any(e.is_correct for e in found):
            easier = peers.strip_value_info(model.path, place.cache / "easier")
            helped = (f"{peer}+", easier, model, rows)
            records[f"{peer}+"], found = _peer(case, place, helped, reference)
            entries += found
    return records, entries


def _peer(
    case: Case, place: Place, given: tuple[str, Path, FloatModel, Path], reference: Row
) -> tuple[Row, list[Entry]]:
    peer, path, model, rows = given
    print(f"  {peer}", file=sys.stderr)
    out = place.cache / "peers" / peer
    request = peers.Request(model=path, rows=rows, out=out, transformer=case.transformer)
    record = peers.call(peer.removesuffix("+"), request)
    entries = []
    if record["file"]:
        file = out / record["file"]
        for runtime in ("openvino",) if file.suffix == ".xml" else RUNTIMES:
            score = _remembered(out / f"{runtime}.json", case, place, (file, runtime, model))
            is_correct = _is_correct(case, reference, score)
            entries.append(
                Entry(who=peer, runtime=runtime, path=file, score=score, is_correct=is_correct)
            )
    return record, entries


def _remembered(kept: Path, case: Case, place: Place, given: tuple[Path, str, FloatModel]) -> Row:
    """The score of a peer's file, which does not change with gossamer."""
    if not kept.exists():
        kept.write_text(json.dumps(_score(case, place, *given)), encoding="utf-8")
    found: Row = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _timed(entries: list[Entry], feed: Feed) -> Comparison:
    print("  latency", file=sys.stderr)
    threads = environment().threads
    contenders = [
        Contender(name=e.name, runtime=e.runtime, path=e.path, precision=e.precision)  # type: ignore[arg-type]
        for e in entries
    ]
    return measure_latency(contenders, feed, threads=threads, seconds=SECONDS)


def _entry(entry: Entry, timed: Comparison, reference: Row) -> Row:
    found = {
        "who": entry.who,
        "runtime": entry.runtime,
        "label": entry.label,
        "score": {k: v for k, v in entry.score.items() if k != "samples"},
        "correct": entry.is_correct,
    }
    if entry.name not in timed.latencies:
        return found
    latency = timed.latencies[entry.name]
    return found | {
        "loss": judges.loss(reference, entry.score),
        "loss_interval": judges.interval(reference, entry.score),
        "latency_ms": latency.milliseconds(),
        "block_medians_ms": [round(float(np.median(b)) * 1000, 5) for b in latency.blocks],
        "peak_rss_bytes": latency.peak_rss_bytes,
        "size_bytes": sum(
            f.stat().st_size
            for f in (entry.path, entry.path.with_suffix(".bin"), Path(f"{entry.path}.data"))
            if f.exists()
        ),
    }


def _comparison(entries: list[Entry], timed: Comparison, chosen: str | None) -> Row:
    """Ours against the best of the others, for each runtime and over both.

    Over both, ours is what compress chose, not what is fastest here: the file on the runtime
    `chosen`, or float32 where that is None.
    The best of the others is the fastest of the float models and the correct files of peers:
    who called a peer that failed or lost would have stayed with float.
    """
    found: Row = {}
    for scope in (*RUNTIMES, "overall"):
        here = [e for e in entries if scope in ("overall", e.runtime) and e.is_correct]
        floats = [e for e in here if e.who == FLOAT]
        plain = [e for e in here if e.who != "gossamer" and not e.who.endswith("+")]
        helped = [e for e in here if e.who != "gossamer"]
        if not floats:
            continue
        ours = [e for e in here if e.who == "gossamer"]
        if scope == "overall":
            ours = [e for e in ours if e.runtime == chosen] or floats
        else:
            ours += floats
        best = _fastest(ours, timed)
        found[scope] = {"ours": _named(best, timed)}
        for name, rivals in (("float", floats), ("peer", plain), ("helped", helped)):
            rival = _fastest(rivals, timed)
            found[scope][name] = _named(rival, timed) | _speedup(rival, best, timed)
    return found


def _fastest(entries: list[Entry], timed: Comparison) -> Entry:
    return min(entries, key=lambda e: timed.latencies[e.name].median)


def _named(entry: Entry, timed: Comparison) -> Row:
    return {
        "who": entry.who,
        "runtime": entry.runtime,
        "label": entry.label,
        "ms": timed.latencies[entry.name].median * 1000,
        "score": entry.score["score"],
    }


def _speedup(rival: Entry, ours: Entry, timed: Comparison) -> Row:
    compared = ratio(
        timed.latencies[rival.name], timed.latencies[ours.name], noise_floor=timed.noise_floor
    )
    return {"speedup": compared.value, "speedup_interval": [compared.low, compared.high]}


def _environment() -> Row:
    from importlib.metadata import version

    found = environment().dump()
    found["versions"]["nncf"] = version("nncf")
    return found


def _clean(row: Row) -> Row:
    """The row without the folders of this machine."""
    text = json.dumps(row).replace(f"{ROOT.parent}/", "../").replace(str(ROOT.parent), "..")
    cleaned: Row = json.loads(re.sub(r"/tmp/[\w./-]+/", "", text))
    return cleaned
