"""Run as a process: train a student on its share of each batch; print losses and weights as JSON.

distill_process.py RANK PROCESSES FILE_OF_THE_GROUP
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from gossamer.train.losses.features import Features
from gossamer.train.losses.logits import Logits
from gossamer.train.losses.relations import Relations
from gossamer.train.techniques.distill import Distill

STEPS, SIZE = 6, 8
TESTS = Path(__file__).resolve().parents[2]


def main(rank: int, processes: int, file: str) -> None:
    torch.set_num_threads(1)
    sys.path.insert(0, str(TESTS))
    from zoo.encoder import batch, encoder

    torch.manual_seed(0)
    student, teacher = encoder(0).double(), encoder(1, layers=4, width=12).double()
    student.exits.requires_grad_(requires_grad=False)  # which no loss here reaches
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # masks of two processes are others than those of one
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01)
    technique = Distill(losses=(Logits(), Features(), Relations(heads=2)))
    whole = [{**batch(s, SIZE), "attention_mask": torch.ones(SIZE, 6)} for s in range(STEPS)]
    attachment = technique.attach(student, optimizer, teacher=teacher, batches=lambda: iter(whole))
    model: nn.Module = student
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{file}", rank=rank, world_size=processes
        )
        model = nn.parallel.DistributedDataParallel(student)
    losses = []
    for inputs in whole:
        own = {name: value[rank::processes] for name, value in inputs.items()}
        task = nn.functional.cross_entropy(model(**own), own["labels"])
        loss = attachment.loss(task)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown = loss.detach().clone()
        if processes > 1:
            torch.distributed.all_reduce(shown)
        losses.append(shown.item() / processes)
    weights = {name: value.flatten().tolist() for name, value in student.state_dict().items()}
    sys.stdout.write(json.dumps({"losses": losses, "weights": weights}) + "\n")
    if processes > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
