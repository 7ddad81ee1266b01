"""The processes of one launch by `torchrun` or `accelerate launch`, which train together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from gossamer.plugins import require


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """The first process does what is inside before the others, which wait until it is done."""
    if not (torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()):
        yield
        return
    accelerate = require("accelerate", "train", "training in several processes")
    with accelerate.PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield


def leave() -> None:
    """End this process's part in the group that a training made, if one did."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
