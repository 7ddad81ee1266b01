"""What one calibration pass knows about each tensor; every range rule reads from this alone."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 3
SCALARS = ("low", "high", "edge_low", "edge_high")
ARRAYS = ("sample_low", "sample_high", "counts")
CHANNELS = ("mean", "low", "high")
COSTS = ("samples", "seconds", "plain_seconds", "peak_rss_bytes", "plain_rss_bytes")


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorStatistics:
    """Statistics of one activation over the calibration set, padding never included.

    Attributes:
        low: Exact minimum over every element of every sample; 0 instead for large outputs of Relu,
            Sigmoid, Softmax and Clip(0, …), which cannot be below that. Ranges contain 0 anyway.
            For large outputs of SiLU, what the function takes on at least in the exact range of its
            input.
        high: Exact maximum.
        sample_low: Minimum of each sample, in feeding order, `[samples]` float32; samples in
            which the tensor was empty are left out.
        sample_high: Maximum of each sample.
        counts: Histogram of all elements, `[bins]` int64, bins >= 2048. The largest and smallest
            elements of each sample are counted one by one, the rest is scaled up from a strided
            subsample.
        edge_low: Left edge of the first bin. 0 is always an edge.
        edge_high: Right edge of the last bin; the bins cover [low, high] and 0.
    """

    low: float
    high: float
    sample_low: NDArray[np.float32]
    sample_high: NDArray[np.float32]
    counts: NDArray[np.int64]
    edge_low: float
    edge_high: float

    @property
    def edges(self) -> NDArray[np.float64]:
        """The borders of the bins, `[bins + 1]`."""
        return np.linspace(self.edge_low, self.edge_high, len(self.counts) + 1)

    @property
    def bin_centres(self) -> NDArray[np.float64]:
        """The middle of each bin, `[bins]`."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelStatistics:
    """Statistics of each channel of one activation that products with weights read.

    Attributes:
        mean: Mean of the channel over all samples, `[channels]` float32.
        low: Minimum; None where that was not asked for.
        high: Maximum of the same.
        is_exact: Whether all elements told; else a strided subsample did.
    """

    mean: NDArray[np.float32]
    low: NDArray[np.float32] | None = None
    high: NDArray[np.float32] | None = None
    is_exact: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """All tensors of one (model, calibration split), and what collecting them cost.

    Attributes:
        tensors: By value name in the simplified graph.
        channels: By value name, of values that sites with weights read.
        samples: Calibration samples fed.
        seconds: Wall time of the pass.
        plain_seconds: Wall time of plain inference over the same samples in the same process kind.
        peak_rss_bytes: Peak resident memory of the process that collected.
        plain_rss_bytes: Peak resident memory of plain inference.
    """

    tensors: Mapping[str, TensorStatistics]
    channels: Mapping[str, ChannelStatistics] = field(default_factory=dict)
    samples: int
    seconds: float
    plain_seconds: float
    peak_rss_bytes: int
    plain_rss_bytes: int

    def tensor(self, name: str) -> TensorStatistics:
        """The statistics of one value.

        Raises:
            CalibrationError: The value was not observed.
        """
        if name not in self.tensors:
            raise CalibrationError(
                f"statistics of {name!r}",
                f"those of {len(self.tensors)} other values",
                "Collect them again with this value among those asked for.",
            )
        return self.tensors[name]

    def joined(self, others: Statistics) -> Statistics:
        """These, with those of `others` for values that were not observed."""
        return replace(
            self,
            tensors={**others.tensors, **self.tensors},
            channels={**others.channels, **self.channels},
        )

    def encode(self) -> bytes:
        """Everything as the content of one `.npz` file; equal statistics give equal bytes."""
        header: dict[str, Any] = {"format": FORMAT, "names": list(self.tensors)}
        header["channels"] = {name: c.is_exact for name, c in self.channels.items()}
        header |= {field: getattr(self, field) for field in COSTS}
        arrays: dict[str, NDArray[np.generic]] = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8)
        }
        for i, tensor in enumerate(self.tensors.values()):
            arrays[f"{i}.scalars"] = np.array([getattr(tensor, f) for f in SCALARS], np.float64)
            arrays |= {f"{i}.{field}": getattr(tensor, field) for field in ARRAYS}
        for i, channels in enumerate(self.channels.values()):
            for part in CHANNELS:
                if (array := getattr(channels, part)) is not None:
                    arrays[f"channels.{i}.{part}"] = array
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        return content.getvalue()

    @classmethod
    def decode(cls, content: bytes) -> Statistics:
        """The statistics that `encode` turned into bytes.

        Raises:
            CalibrationError: The content is cut off, damaged, or of another format.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                if header["format"] != FORMAT:
                    raise ValueError(f"format {header['format']}")  # noqa: TRY301 - one message
                tensors = {
                    name: TensorStatistics(
                        **dict(zip(SCALARS, file[f"{i}.scalars"].tolist(), strict=True)),
                        **{field: file[f"{i}.{field}"] for field in ARRAYS},
                    )
                    for i, name in enumerate(header["names"])
                }
                channels = {
                    name: ChannelStatistics(
                        **{p: file[key] for p in CHANNELS if (key := f"channels.{i}.{p}") in file},
                        is_exact=is_exact,
                    )
                    for i, (name, is_exact) in enumerate(header["channels"].items())
                }
                costs = {field: header[field] for field in COSTS}
                return cls(tensors=tensors, channels=channels, **costs)
        except Exception as error:  # zip, numpy and json raise many kinds for damaged files
            raise CalibrationError(
                f"calibration statistics of format {FORMAT}",
                f"{len(content)} bytes: {type(error).__name__}: {error}",
                "Delete the file: the statistics are then collected again.",
            ) from error
