"""The processes of one launch by `torchrun` or `accelerate launch`, which train together."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from gossamer.plugins import require


@contextlib.contextmanager
def together() -> Iterator[int]:
    """The number of this process in its launch, 0 for the first or for one that is alone.

    At the end it leaves the group that the training made, if there was one.
    """
    yield int(os.environ.get("RANK", "0"))
    if "torch" in sys.modules:
        import torch

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """The first process does what is inside before the others, which wait until it is done."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    import torch

    accelerate = require("accelerate", "train", "training in several processes")
    with accelerate.PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
