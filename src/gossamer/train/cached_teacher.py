"""A teacher that is asked once for each sample."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from gossamer import store
from gossamer.errors import TrainingError
from gossamer.train.outputs import Call, logits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

PLAIN = (bool, int, float, str, type(None))


class CachedTeacher(nn.Module):
    """A teacher whose logits are kept, so that later epochs do not run it.

    A sample is known again by a digest of its inputs: of all bytes of its rows of every tensor,
    without the padding at the end where `attention_mask [batch, tokens]` says so. No index of
    samples is needed, and data that is augmented anew each time is simply never known. Logits of
    a text padded to another length agree as far as the teacher's own arithmetic does (about 1e-6
    of their size in float32), those of the same inputs exactly.

    It is put in place of the teacher: `attach(model, optimizer, teacher=CachedTeacher(teacher))`,
    for losses that look at logits only. While the teacher is in training mode, nothing is kept.

    Attributes:
        teacher: What is asked.
        folder: Keeps logits for later trainings, a file for each sample, in a folder for each
            teacher (by a digest of its weights); None keeps them in this process.
        max_bytes: Of logits that are kept; samples that come when it is full are computed each
            time.
        asked: Samples that the teacher computed so far.
    """

    def __init__(
        self, teacher: nn.Module, folder: str | Path | None = None, max_bytes: int = 1 << 30
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.max_bytes = max_bytes
        self.asked = 0
        self.folder = Path(folder) / _digest_of(teacher) if folder is not None else None
        self._kept: dict[str, Tensor] = {}
        self._bytes = 0
        if self.folder is not None and self.folder.is_dir():
            self._bytes = sum(path.stat().st_size for path in self.folder.glob("*.npy"))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """The logits of each sample, `[batch, …]`; those of padding at the end may be 0."""
        call = Call(args, kwargs).without_labels(self.teacher)
        inputs = _Inputs(call.named(self.teacher))
        if self.teacher.training or not inputs.count:
            return self._ask(call)
        keys = [inputs.key(i) for i in range(inputs.count)]
        known = [self._find(key) for key in keys]
        missing = [i for i, found in enumerate(known) if found is None]
        if missing:
            fresh = self._ask(inputs.rows(call, missing))
            for i, logits in zip(missing, fresh, strict=True):
                known[i] = self._keep(keys[i], inputs.cut(i, logits))
        return inputs.batch([found for found in known if found is not None])

    def _ask(self, call: Call) -> Tensor:
        with torch.no_grad():
            logits = logits_of(self.teacher(*call.args, **call.kwargs), self.teacher)
        self.asked += len(logits)
        return logits

    def _find(self, key: str) -> Tensor | None:
        if self.folder is None:
            return self._kept.get(key)
        path = self.folder / f"{key}.npy"
        if not path.is_file():
            return None
        return torch.from_numpy(np.load(path, allow_pickle=False))

    def _keep(self, key: str, logits: Tensor) -> Tensor:
        size = logits.numel() * logits.element_size()
        if self._bytes + size <= self.max_bytes:
            self._bytes += size
            if self.folder is None:
                self._kept[key] = logits.cpu().clone()  # a view would keep the whole batch
            else:
                content = io.BytesIO()
                np.save(content, _array(logits), allow_pickle=False)
                with store.told_apart(self.folder):
                    self.folder.mkdir(parents=True, exist_ok=True)
                store.write_bytes(self.folder / f"{key}.npy", content.getvalue())
        return logits


class _Inputs:
    """The inputs of one call, sample by sample."""

    def __init__(self, inputs: dict[str, object]) -> None:
        for name, value in inputs.items():
            if not isinstance(value, (torch.Tensor, *PLAIN)):
                raise TrainingError(
                    "tensors and plain values as inputs of a teacher whose logits are kept",
                    f"{name} of {type(value).__name__}",
                    "Attach the teacher itself, not a CachedTeacher.",
                )
        self._inputs = inputs
        tensors = [v for v in inputs.values() if isinstance(v, torch.Tensor) and v.dim()]
        self.count = len(tensors[0]) if tensors else 0
        self._device = tensors[0].device if tensors else None
        mask = inputs.get("attention_mask")
        self._tokens, self._lengths = 0, [0] * self.count
        if isinstance(mask, torch.Tensor) and mask.dim() == 2 and len(mask) == self.count:
            self._tokens = mask.shape[1]
            places = torch.arange(1, self._tokens + 1, device=mask.device)
            self._lengths = ((mask != 0) * places).amax(1).tolist()  # of the last real token

    def key(self, i: int) -> str:
        """A digest of all that sample i is made of, but for padding at its end."""
        digest = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self._inputs.items()):
            if not isinstance(value, torch.Tensor):
                if value is not None:
                    digest.update(f"{name}={value!r};".encode())
                continue
            part = value[i] if self._is_batched(value) else value
            if self._has_tokens(value):
                part = part[: self._lengths[i]]
            digest.update(f"{name}:{part.dtype}{list(part.shape)};".encode())
            digest.update(_bytes(part))
        return digest.hexdigest()

    def rows(self, call: Call, chosen: Sequence[int]) -> Call:
        """The call with the chosen samples only; itself where they are all."""
        if len(chosen) == self.count:
            return call
        return Call(
            tuple(self._pick(value, chosen) for value in call.args),
            {name: self._pick(value, chosen) for name, value in call.kwargs.items()},
        )

    def cut(self, i: int, logits: Tensor) -> Tensor:
        """The logits of sample i without those of padding at its end."""
        has_tokens = logits.dim() >= 2 and self._tokens and len(logits) == self._tokens
        return logits[: self._lengths[i]] if has_tokens else logits

    def batch(self, parts: Sequence[Tensor]) -> Tensor:
        """Logits of all samples, with zeros where they were cut."""
        found = [part.to(self._device) for part in parts]
        lengths = zip(found, self._lengths, strict=True)
        if self._tokens and all(p.dim() >= 2 and len(p) == length for p, length in lengths):
            whole = found[0].new_zeros(self.count, self._tokens, *found[0].shape[1:])
            for row, part in zip(whole, found, strict=True):
                row[: len(part)] = part
            return whole
        if len({part.shape for part in found}) > 1:
            raise TrainingError(
                "logits of one shape for all samples",
                f"{', '.join(sorted({str(list(part.shape)) for part in found}))}",
                "Pad all batches to one length, or attach the teacher itself.",
            )
        return torch.stack(found)

    def _is_batched(self, value: Tensor) -> bool:
        return value.dim() > 0 and len(value) == self.count

    def _has_tokens(self, value: Tensor) -> bool:
        return bool(self._tokens) and tuple(value.shape[:2]) == (self.count, self._tokens)

    def _pick(self, value: object, chosen: Sequence[int]) -> object:
        if isinstance(value, torch.Tensor) and self._is_batched(value):
            return value[list(chosen)]
        return value


def _array(values: Tensor) -> NDArray[np.generic]:
    """The numbers in numpy, which has no bfloat16: those in float32."""
    plain = values.detach().cpu()
    found: NDArray[np.generic] = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return found


def _bytes(values: Tensor) -> bytes:
    plain = values.detach().cpu().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def _digest_of(module: nn.Module) -> str:
    """A digest of every parameter and buffer that a module saves."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name}:{value.dtype}{list(value.shape)};".encode())
            digest.update(_bytes(value))
    return digest.hexdigest()
