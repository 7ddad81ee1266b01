"""What calibration keeps of what runs told (`looks`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import CalibrationError
from gossamer.graph._histogram import Histogram
from gossamer.graph.curves import CURVES, ITSELF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gossamer.graph.looks import Look

    Elements = NDArray[np.float32]

QUIET = -math.inf, math.inf  # thresholds beyond which nothing lies


class Observed:
    """The value of one tap, and its curves.

    Args:
        value: Its name, for messages.
        images: What it tells of, as in `taps.Image`.
        step: Elements that one element of the sample stands for.
        tells_minimum: Whether runs tell it; otherwise it is 0.
    """

    def __init__(
        self, value: str, images: Sequence[Mapping[str, Any]], step: int, tells_minimum: bool
    ) -> None:
        self._value = value
        self._step = step
        self._tells_minimum = tells_minimum
        self._images = [
            (
                image["curve"],
                Counted(step),
                [SampledChannels(**means, step=step) for means in image["means"]],
            )
            for image in images
        ]
        self.forget()

    def forget(self) -> None:
        """Begin again; only the ranges of histograms stay."""
        self._counted = 0  # runs
        self._waiting: list[Look] = []
        for _, counted, means in self._images:
            counted.forget()
            for channels in means:
                channels.forget()

    def take(self, look: Look) -> int:
        """Keep what one run told; how many elements now wait more."""
        self._waiting.append(look)
        return look.sample.size + look.loud.size

    def count(self, below: float, above: float) -> None:
        """Count all that waits; all these runs had these thresholds."""
        if not self._waiting:
            return
        minima, maxima, starts, samples, louds = zip(*self._waiting, strict=True)
        low, high = np.array(minima, np.float32), np.array(maxima, np.float32)
        is_full = ~(low > high)  # so is NaN
        is_bad = is_full & ~(np.isfinite(low) & np.isfinite(high))
        if is_bad.any():
            i = int(is_bad.argmax())
            raise refused(self._value, f"numbers from {low[i]} to {high[i]}", self._counted + i)
        elements = np.concatenate((*samples, *louds))
        sample = elements[: sum(x.size for x in samples)]
        if sample.size and math.isnan(sample.min()):
            broken = [bool(np.isnan(x).any()) for x in samples].index(True)
            raise refused(self._value, "NaN", self._counted + broken)
        is_known = sample >= above  # those are among the loud ones already
        if self._tells_minimum:
            is_known |= sample < below
        known = sample[is_known]
        low, high = low[is_full], high[is_full]
        for name, counted, means in self._images if low.size else ():
            curve = CURVES[name]
            lows, highs = curve.extremes(low, high)
            image, both = elements, known
            if name != ITSELF:  # rounding may carry a curve past its extremes
                image, both = (curve.of(x).clip(lows.min(), highs.max()) for x in (elements, known))
            counted.add(lows, highs, image[: len(sample)], image[len(sample) :], both)
            for channels in means:
                channels.take(image[: len(sample)], [x.size for x in samples], starts)
        self._counted += len(self._waiting)
        self._waiting.clear()

    def thresholds(self, share: float) -> tuple[float, float]:
        """What is loud in runs to come: below the first number, not below the second."""
        histogram = self._images[0][1].histogram
        if histogram is None or self._step == 1:
            return QUIET
        below, above = histogram.quantiles(share)
        return below if self._tells_minimum else -math.inf, above

    def arrays(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """All that is known once nothing waits: `PREFIX.IMAGE.PART`, `mean.VALUE`."""
        found: dict[str, NDArray[np.generic]] = {}
        for i, (_, counted, means) in enumerate(self._images):
            found |= {f"{prefix}.{i}.{part}": x for part, x in counted.arrays().items()}
            for channels in means:
                found |= channels.arrays()
        return found


class SampledChannels:
    """Means of the channels of one value, and perhaps their extremes, told by samples.

    Args:
        value: Its name.
        channels: How many.
        inner: Elements of one channel that lie one behind the other.
        extremes: Whether to keep them.
        step: Distance of the elements of a sample.
    """

    def __init__(self, value: str, channels: int, inner: int, extremes: bool, step: int) -> None:
        self._value = value
        self._channels = channels
        self._inner = inner
        self._extremes = extremes
        self._step = step
        self._borders = np.arange(channels + 1) * inner
        self.forget()

    def forget(self) -> None:
        """Begin again."""
        self._sums = np.zeros(self._channels)
        self._elements = np.zeros(self._channels, np.int64)
        self._low = np.full(self._channels, math.inf, np.float32)
        self._high = -self._low

    def take(self, sample: Elements, sizes: Sequence[int], starts: Sequence[int]) -> None:
        """Keep some samples.

        Args:
            sample: One behind the other.
            sizes: Of each of them.
            starts: The value's element that is the first of each.
        """
        step, inner = self._step, self._inner
        begin = np.array(starts)[:, None]
        first = np.maximum(-((begin - self._borders) // step), 0)  # of each channel's elements
        if step <= inner and max(starts) < inner and first[:, -1].tolist() == list(sizes):
            # every channel comes once in each sample, and none is empty: no place per element
            first += np.cumsum([0, *sizes[:-1]])[:, None]
            begins = first[:, :-1].ravel()
            sums = np.add.reduceat(sample, begins)
            self._sums += sums.reshape(-1, self._channels).sum(axis=0)
            self._elements += (first[:, 1:] - first[:, :-1]).sum(axis=0)
            self._widen(sample, begins, slice(None))
            return
        places = np.concatenate(
            [np.arange(size) * step + start for size, start in zip(sizes, starts, strict=True)]
        )
        channels = places // inner % self._channels
        self._sums += np.bincount(channels, sample, self._channels)
        self._elements += np.bincount(channels, minlength=self._channels)
        if self._extremes and sample.size:
            order = np.argsort(channels, kind="stable")
            seen, begins = np.unique(channels[order], return_index=True)
            self._widen(sample[order], begins, seen)

    def _widen(
        self, sample: Elements, begins: NDArray[np.intp], where: slice | NDArray[np.intp]
    ) -> None:
        """Take the extremes of the parts of `sample` into those of the channels `where`."""
        if not self._extremes:
            return
        count = len(self._low[where])
        low = np.minimum.reduceat(sample, begins).reshape(-1, count).min(axis=0)
        high = np.maximum.reduceat(sample, begins).reshape(-1, count).max(axis=0)
        self._low[where] = np.minimum(self._low[where], low)
        self._high[where] = np.maximum(self._high[where], high)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Of each channel, `PART.VALUE`; 0 for one of which no element was seen."""
        if not self._elements.any():
            return {}
        found = {"mean": (self._sums / np.maximum(self._elements, 1)).astype(np.float32)}
        if self._extremes:
            is_seen = self._elements > 0
            found |= {"low": np.where(is_seen, self._low, np.float32(0))}
            found |= {"high": np.where(is_seen, self._high, np.float32(0))}
        return {f"{part}.{self._value}": x for part, x in found.items()}


class Counted:
    """Histogram and extremes of one value.

    Args:
        step: Elements that one element of the body stands for.

    Attributes:
        histogram: None until an element was seen.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self.histogram: Histogram | None = None
        self.forget()

    def forget(self) -> None:
        """Begin again; only the range of the histogram stays."""
        self._lows: list[Elements] = []
        self._highs: list[Elements] = []
        if self.histogram is not None:
            self.histogram.counts[:] = 0

    def add(
        self, lows: Elements, highs: Elements, sample: Elements, loud: Elements, both: Elements
    ) -> None:
        """Count some runs.

        Args:
            lows: Minimum of each run, without those in which the value was empty.
            highs: Maximum of the same.
            sample: Every step-th element.
            loud: All loud ones.
            both: Those of the sample that are loud.
        """
        low, high = float(lows.min()), float(highs.max())
        if self.histogram is None:
            self.histogram = Histogram(low, high)
        self.histogram.cover(low, high)
        self.histogram.add(sample, self._step)
        self.histogram.add(both, -self._step)
        self.histogram.add(loud)
        self._lows.append(lows)
        self._highs.append(highs)

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The histogram, its edges, and the extremes of runs that were not empty."""
        if self.histogram is None:
            return {}
        return {
            "counts": self.histogram.counts,
            "edges": np.array(self.histogram.edges),
            "sample_low": np.concatenate(self._lows),
            "sample_high": np.concatenate(self._highs),
        }


class ObservedChannels:
    """Means and extremes of the channels of one value.

    Args:
        value: Its name.
        outputs: Positions of `mean` and perhaps `low` and `high` among the results of a run.
    """

    def __init__(self, value: str, outputs: Mapping[str, int]) -> None:
        self._value = value
        self._outputs = outputs
        self.forget()

    def forget(self) -> None:
        """Begin again."""
        self._runs = 0
        self._mean = np.zeros(1)
        self._low = np.full(1, math.inf, np.float32)
        self._high = -self._low

    def take(self, results: Sequence[Elements]) -> None:
        """Keep what one run gave out."""
        parts = {part: results[i] for part, i in self._outputs.items()}
        if np.isnan(parts["mean"]).any():  # of nothing; NaN in a value is told by others
            return
        self._runs += 1
        self._mean = self._mean + (parts["mean"] - self._mean) / self._runs
        if "low" in parts:
            self._low = np.minimum(self._low, parts["low"])
            self._high = np.maximum(self._high, parts["high"])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """`mean.VALUE`, the mean over the runs, `low.VALUE` and `high.VALUE`."""
        if not self._runs:
            return {}
        found = {"mean": self._mean.astype(np.float32)}
        if "low" in self._outputs:
            found |= {"low": self._low, "high": self._high}
        return {f"{part}.{self._value}": x for part, x in found.items()}


def refused(name: str, what: str, run: int) -> CalibrationError:
    """Numbers of which no statistics can be made."""
    return CalibrationError(
        f"finite numbers in {name!r}",
        f"{what} with calibration sample {run}",
        "Look at that sample, or leave the nodes around this value in float.",
    )
