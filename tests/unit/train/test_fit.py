"""The training loop: it learns, goes on after a kill, and several processes are as one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer import plugins
from gossamer.errors import RecipeError, StorageError, TrainingError

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from gossamer.train import loop  # noqa: E402
from gossamer.train.steps.fit import Fit  # noqa: E402
from zoo import kills, trainable  # noqa: E402

pytestmark = pytest.mark.torch
OPTIONS = Fit(epochs=4, batch=32, learning_rate=0.01)


def test_it_learns(tmp_path: Path) -> None:
    before = trainable.accuracy(trainable.network())

    found = OPTIONS.apply(trainable.network(), trainable.context(tmp_path))

    assert not found.training
    assert before < 0.6
    assert trainable.accuracy(found) > 0.95


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_killed_training_goes_on_to_the_same_bits(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = plugins.parse("module-steps", {"fit": {"epochs": 2, "optimizer": optimizer}})
    whole = options.apply(trainable.network(), trainable.context(tmp_path / "whole"))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    context = trainable.context(tmp_path / "killed")
    object.__setattr__(context, "progress", kills.AfterSteps(11))

    with pytest.raises(KeyboardInterrupt):
        options.apply(trainable.network(), context)
    kept = sorted(p.name for p in (tmp_path / "killed").iterdir())
    resumed = options.apply(trainable.network(), trainable.context(tmp_path / "killed"))

    assert kept == [loop.CHECKPOINT]
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [loop.RESULT]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    found = OPTIONS.apply(trainable.network(), trainable.context(tmp_path))
    context = trainable.context(tmp_path)
    object.__setattr__(context, "progress", kills.AfterSteps(0))  # the first step would end it

    again = OPTIONS.apply(trainable.network(seed=1), context)

    assert all(torch.equal(x, again.state_dict()[n]) for n, x in found.state_dict().items())


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    OPTIONS.apply(trainable.network(), trainable.context(tmp_path))

    with pytest.raises(StorageError, match="weights of this model"):
        OPTIONS.apply(trainable.Network(width=8), trainable.context(tmp_path))


def test_a_seed_makes_it_reproducible(tmp_path: Path) -> None:
    first, again, other = (
        OPTIONS.apply(trainable.network(), trainable.context(tmp_path / name, seed=seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )

    assert torch.equal(first.classes.weight, again.classes.weight)
    assert not torch.equal(first.classes.weight, other.classes.weight)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Gradients are means over both halves of a batch: equal but for the order of sums."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import pathlib, sys, torch; torch.set_num_threads(1)\n"
        "from zoo import trainable; from gossamer.train.steps.fit import Fit\n"
        "from gossamer.train.losses.features import Features\n"
        "from gossamer.train.techniques.distill import Distill\n"
        "network = trainable.network(); network.drop.p = 0.0\n"
        "context = trainable.context(pathlib.Path(sys.argv[1]))\n"
        "torch.manual_seed(0); wider = trainable.Network(width=48).eval()\n"
        "object.__setattr__(context, 'teacher', lambda: wider)\n"
        "features = Features(student=('first',), teacher=('first',))\n"  # between them an adapter
        "learning = Distill(losses=(features,))\n"
        "Fit(epochs=2, learning_rate=0.01, techniques=(learning,)).apply(network, context)\n"
        "if torch.distributed.is_initialized(): torch.distributed.destroy_process_group()\n"
    )

    def start(folder: str, **more: str) -> subprocess.Popen[bytes]:
        path = str(Path(trainable.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}
        return subprocess.Popen([sys.executable, "-c", code, tmp_path / folder], env=environment)

    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    running = [start("two", RANK=str(r), LOCAL_RANK=str(r), **shared) for r in range(2)]
    running.append(start("one"))

    assert [process.wait(120) for process in running] == [0, 0, 0]
    from safetensors.torch import load_file

    one, two = (load_file(tmp_path / name / loop.RESULT) for name in ("one", "two"))
    untrained = trainable.network().state_dict()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], rtol=1e-3, atol=1e-4), name
        assert not torch.allclose(tensor, untrained[name], rtol=1e-3, atol=1e-4), name


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    options = Fit(learning_rate=1e30, optimizer="sgd")

    with pytest.raises(TrainingError, match="Lower the learning rate, 1e\\+30"):
        options.apply(trainable.network(), trainable.context(tmp_path))


@pytest.mark.parametrize("field", ["epochs", "batch", "learning-rate", "weight-decay", "warmup"])
def test_numbers_that_mean_nothing_are_refused(field: str) -> None:
    with pytest.raises(RecipeError, match=rf"fit\.{field}; received -1"):
        plugins.parse("module-steps", {"fit": {field: -1}})


def test_without_samples_it_says_how_to_name_them(tmp_path: Path) -> None:
    context = trainable.context(tmp_path)
    object.__setattr__(context, "training", None)

    with pytest.raises(RecipeError, match="training: PATH"):
        OPTIONS.apply(trainable.network(), context)
