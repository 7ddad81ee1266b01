"""What calibration keeps of the taps (`taps`), run after run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import CalibrationError
from gossamer.graph._histogram import Histogram
from gossamer.graph.curves import CURVES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Elements = NDArray[np.float32]

SHIFT = 31  # elements by which the sample of a whole value begins later in every run
QUIET = -math.inf, math.inf  # thresholds beyond which nothing lies


class Observed:
    """The value of one tap, and its curves.

    Args:
        value: Its name, for messages.
        images: What it tells of, as in `taps.Image`.
        step: Elements that one element of the sample stands for.
        outputs: Positions of its parts among the results of a run.
    """

    def __init__(
        self, value: str, images: Sequence[dict[str, Any]], step: int, outputs: Mapping[str, int]
    ) -> None:
        self._value = value
        self._step = step
        self._outputs = outputs
        self._images = [
            (
                CURVES[image["curve"]],
                Counted(step),
                [SampledMeans(**means, step=step) for means in image["means"]],
            )
            for image in images
        ]
        self.forget()

    def forget(self) -> None:
        """Begin again; only the ranges of histograms stay."""
        self._runs = 0
        self._lows: list[float] = []  # of runs that wait
        self._highs: list[float] = []
        for _, counted, means in self._images:
            counted.forget()
            for channels in means:
                channels.forget()

    def take(self, results: Sequence[Elements], start: int, below: float, above: float) -> int:
        """Keep what one run with these inputs gave out; how many elements now wait more."""
        if "whole" in self._outputs:
            start = SHIFT * self._runs % self._step
            low, high, sample, loud = self._whole(results, start, below, above)
        else:
            low, high, sample, loud = self._tapped(results, below, above)
        self._runs += 1
        self._lows.append(low)
        self._highs.append(high)
        is_quiet = ~((sample < below) | (sample >= above))  # so is NaN
        for curve, counted, means in self._images:
            image = curve.of(sample)
            counted.add(image[is_quiet], curve.of(loud))
            for channels in means:
                channels.take(image, start)
        return (sample.size + loud.size) * len(self._images)

    def _tapped(
        self, results: Sequence[Elements], below: float, above: float
    ) -> tuple[float, float, Elements, Elements]:
        outputs = self._outputs
        rows = results[outputs["loud"]]
        loud = rows[(rows >= above) | (rows < below)]
        # an output of Relu or Clip(0, …) tells no minimum: it cannot be below 0
        low = results[outputs["lowest"]].min(initial=math.inf) if "lowest" in outputs else 0.0
        high = results[outputs["highest"]].max(initial=-math.inf)
        return float(low), float(high), results[outputs["sample"]], loud

    def _whole(
        self, results: Sequence[Elements], start: int, below: float, above: float
    ) -> tuple[float, float, Elements, Elements]:
        x = results[self._outputs["whole"]].ravel()
        low, high = float(x.min(initial=math.inf)), float(x.max(initial=-math.inf))
        is_loud = x >= above
        if low < below:
            is_loud |= x < below
        return low, high, x[start :: self._step], x[is_loud]

    def count(self) -> None:
        """Count all that waits."""
        low, high = np.array(self._lows, np.float32), np.array(self._highs, np.float32)
        first = self._runs - len(low)
        is_full = ~(low > high)  # so is NaN
        is_bad = is_full & ~(np.isfinite(low) & np.isfinite(high))
        if is_bad.any():
            i = int(is_bad.argmax())
            raise refused(self._value, f"numbers from {low[i]} to {high[i]}", first + i)
        for curve, counted, _ in self._images:
            broken = counted.count(*curve.extremes(low[is_full], high[is_full]))
            if broken is not None:
                raise refused(self._value, "NaN", first + broken)
        self._lows.clear()
        self._highs.clear()

    def thresholds(self, share: float) -> tuple[float, float]:
        """What is loud in runs to come: below the first number, not below the second."""
        histogram = self._images[0][1].histogram
        if histogram is None or self._step == 1:
            return QUIET
        below, above = histogram.quantiles(share)
        return below if {"whole", "lowest"} & self._outputs.keys() else -math.inf, above

    def arrays(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """All that is known once nothing waits: `PREFIX.IMAGE.PART`, `mean.VALUE`."""
        found: dict[str, NDArray[np.generic]] = {}
        for i, (_, counted, means) in enumerate(self._images):
            found |= {f"{prefix}.{i}.{part}": x for part, x in counted.arrays().items()}
            for channels in means:
                found |= channels.arrays()
        return found


class SampledMeans:
    """Means of the channels of one value, told by samples.

    Args:
        value: Its name.
        channels: How many.
        inner: Elements of one channel that lie one behind the other.
        step: Distance of the elements of a sample.
    """

    def __init__(self, value: str, channels: int, inner: int, step: int) -> None:
        self._value = value
        self._channels = channels
        self._inner = inner
        self._step = step
        self._borders = np.arange(channels + 1) * inner
        self.forget()

    def forget(self) -> None:
        """Begin again."""
        self._sums = np.zeros(self._channels)
        self._elements = np.zeros(self._channels, np.int64)

    def take(self, sample: Elements, start: int) -> None:
        """Keep one sample, the first element of which is the value's element `start`."""
        step, inner = self._step, self._inner
        first = np.maximum(-((start - self._borders) // step), 0)  # of each channel's elements
        if first[-1] == len(sample) and start < inner and step <= inner:
            # every channel comes once, and none of them is empty: three times as fast
            self._sums += np.add.reduceat(sample, first[:-1])
            self._elements += first[1:] - first[:-1]
            return
        places = np.arange(start, start + len(sample) * step, step)
        channels = places // inner % self._channels
        self._sums += np.bincount(channels, sample, self._channels)
        self._elements += np.bincount(channels, minlength=self._channels)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The means; 0 for a channel of which no element was seen."""
        if not self._elements.any():
            return {}
        means = self._sums / np.maximum(self._elements, 1)
        return {f"mean.{self._value}": means.astype(np.float32)}


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
        self._body: list[Elements] = []  # of runs that wait
        self._loud: list[Elements] = []
        if self.histogram is not None:
            self.histogram.counts[:] = 0

    def add(self, body: Elements, loud: Elements) -> None:
        """Keep a sample of what is not loud in one run, and all that is."""
        self._body.append(body)
        self._loud.append(loud)

    def count(self, lows: Elements, highs: Elements) -> int | None:
        """Count what waits; the first of the waiting runs that has NaN, if one has.

        Args:
            lows: Minimum of each waiting run, without those in which the value was empty.
            highs: Maximum of the same.
        """
        if lows.size:
            body, low, high = np.concatenate(self._body), float(lows.min()), float(highs.max())
            if body.size and math.isnan(body.min()):
                return [bool(np.isnan(x).any()) for x in self._body].index(True)
            if self.histogram is None:
                self.histogram = Histogram(low, high)
            self.histogram.cover(low, high)
            np.clip(body, low, high, out=body)  # rounding may carry a curve past its extremes
            self.histogram.add(body, self._step)
            self.histogram.add(np.concatenate(self._loud).clip(low, high))
        self._lows.append(lows)
        self._highs.append(highs)
        self._body.clear()
        self._loud.clear()
        return None

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
