"""Techniques in the trainers of transformers and Lightning: they join, go on, and leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import TrainingError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
lightning = pytest.importorskip("lightning.pytorch")
from gossamer.train.lightning import LightningTechniques  # noqa: E402
from gossamer.train.losses.mse import Mse  # noqa: E402
from gossamer.train.techniques.distill import Distill  # noqa: E402
from gossamer.train.techniques.sparsify import Sparsify  # noqa: E402
from gossamer.train.trainer import STATE, TrainerTechniques  # noqa: E402
from zoo import trainable  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SPARSE = Sparsify(sparsity=0.5, interval=1)
TAUGHT = Distill(losses=(Mse(),), hard_weight=0.0)


class Rows(torch.utils.data.Dataset):  # type: ignore[misc,name-defined]
    """Points and labels, one by one."""

    def __init__(self, count: int = 128) -> None:
        self.clouds = trainable.Clouds(count)

    def __len__(self) -> int:
        return len(self.clouds)

    def __getitem__(self, index: int) -> dict[str, Any]:
        x = torch.from_numpy(self.clouds.points[index])
        return {"x": x, "labels": torch.tensor(int(self.clouds.labels[index]))}


class Judged(trainable.Network):
    """Returns its loss for labels, as models of transformers do."""

    def forward(self, x: Any, labels: Any = None) -> Any:
        logits = super().forward(x)
        if labels is None:
            return {"logits": logits}
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


def judged() -> Judged:
    torch.manual_seed(0)
    return Judged()


def trainer(model: Any, folder: Path, *callbacks: Any, epochs: int = 2, **more: Any) -> Any:
    """32 steps in two epochs."""
    options = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        num_train_epochs=epochs,
        learning_rate=0.01,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        use_cpu=True,
        seed=0,
        **more,
    )
    return transformers.Trainer(model, options, train_dataset=Rows(), callbacks=list(callbacks))


def test_masks_join_a_trainer_and_leave_an_ordinary_model(tmp_path: Path) -> None:
    model = judged()

    trainer(model, tmp_path, TrainerTechniques(SPARSE), save_strategy="no").train()

    assert set(model.state_dict()) == set(judged().state_dict())
    assert float((model.second.weight == 0).float().mean()) >= 0.45
    assert float((model.classes.weight == 0).float().mean()) == 0  # the last layer is left out


def test_a_teacher_changes_the_loss_of_a_trainer(tmp_path: Path) -> None:
    """Without the labels' loss the student comes to agree with a teacher that knows nothing."""
    model, teacher = judged(), judged()
    torch.nn.init.zeros_(teacher.classes.weight)
    techniques = TrainerTechniques(TAUGHT, teacher=teacher)

    trainer(model, tmp_path, techniques, save_strategy="no", epochs=6).train()

    x = torch.from_numpy(trainable.Clouds(64).points)
    with torch.no_grad():
        given, found = (m.eval()(x)["logits"] for m in (judged(), model))
        wanted = teacher.eval()(x)["logits"]
    assert (found - wanted).square().mean() < 0.1 * (given - wanted).square().mean()


def test_a_resumed_trainer_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, resumed = judged(), judged()
    saved = {"save_strategy": "steps", "save_steps": 16}
    trainer(whole, tmp_path / "whole", TrainerTechniques(SPARSE), **saved).train()
    checkpoint = tmp_path / "whole" / "checkpoint-16"

    trainer(resumed, tmp_path / "whole", TrainerTechniques(SPARSE), **saved).train(
        resume_from_checkpoint=str(checkpoint)
    )

    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    (checkpoint / STATE).unlink()
    with pytest.raises(TrainingError, match="the techniques' state"):
        trainer(judged(), tmp_path / "whole", TrainerTechniques(SPARSE), **saved).train(
            resume_from_checkpoint=str(checkpoint)
        )


class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
    """A network, and the line that lets techniques change the loss."""

    def __init__(self, network: Any, joined: LightningTechniques) -> None:
        super().__init__()
        self.network, self.joined = network, joined

    def training_step(self, batch: Any, _: int) -> Any:
        loss = torch.nn.functional.cross_entropy(self.network(batch["x"]), batch["labels"])
        return self.joined.loss(loss, batch["labels"])

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.network.parameters(), lr=0.01)


def lit(network: Any, folder: Path, joined: LightningTechniques, **more: Any) -> Any:
    """Trained in two epochs of 16 steps, with a checkpoint behind each."""
    checkpoints = lightning.callbacks.ModelCheckpoint(folder, filename="{step}", save_top_k=-1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[joined, checkpoints],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    lightning.seed_everything(0, verbose=False)
    batches = torch.utils.data.DataLoader(Rows(), batch_size=8)
    trainer.fit(Module(network, joined), batches, **more)
    return network


def plain() -> Any:
    torch.manual_seed(0)
    network = trainable.Network()
    network.drop.p = 0.0  # Lightning does not restore what draws
    return network


def test_masks_join_lightning_and_a_resumed_training_ends_with_the_same_weights(
    tmp_path: Path,
) -> None:
    whole = lit(plain(), tmp_path / "a", LightningTechniques(SPARSE, module="network"))
    path = next((tmp_path / "a").glob("*step=16*"))
    resumed = lit(
        plain(), tmp_path / "b", LightningTechniques(SPARSE, module="network"), ckpt_path=path
    )

    assert set(whole.state_dict()) == set(plain().state_dict())
    assert float((whole.second.weight == 0).float().mean()) >= 0.45
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_teacher_changes_the_loss_of_lightning(tmp_path: Path) -> None:
    teacher = plain().eval()
    torch.nn.init.zeros_(teacher.classes.weight)
    joined = LightningTechniques(TAUGHT, module="network", teacher=teacher)

    taught = lit(plain(), tmp_path, joined)
    alone = lit(plain(), tmp_path / "alone", LightningTechniques(module="network"))

    x = torch.from_numpy(trainable.Clouds(64).points)
    with torch.no_grad():
        wanted = teacher(x)
        given, found, other = (
            float((m.eval()(x) - wanted).square().mean()) for m in (plain(), taught, alone)
        )
    assert found < 0.5 * given < other
