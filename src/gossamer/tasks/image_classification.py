"""The task `image-classification`: an image in, one class out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.task import DataRequest, Label, Task, TaskData
from gossamer.tasks._dtypes import dtype_of
from gossamer.tasks._images import (
    NEEDED,
    TABLES,
    ImageInput,
    Images,
    check_labels,
    list_images,
    number_listings,
)
from gossamer.tasks._labels import describe
from gossamer.tasks._outputs import accuracies, hits
from gossamer.tasks._preprocess import (
    Filter,
    Order,
    Preprocess,
    changed,
    find_preprocess,
    given_numbers,
    given_sides,
)
from gossamer.tasks._splits import divide, locate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gossamer.runtime import Feed


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageClassification(Task):
    """Share of images whose class is found.

    What is not given comes from `preprocess.yaml`, else from the model's image processor, else
    from the shape of the model's input, scaled by 1/255.

    Attributes:
        size: Height and width to resize to; one number is the shorter side if a crop follows.
        crop: Height and width to cut from the middle; the image is not resized unless asked.
        channel_order: Order in which the model takes the channels: rgb or bgr.
        scale: Factor on the values 0 to 255, by default 1/255.
        mean: Subtracted after scaling, in the model's channel order.
        std: Divides after that, in the model's channel order.
        resample: Filter that resizes: nearest, bilinear, bicubic, lanczos, box or hamming.
        preprocess: A YAML file with these values.
    """

    size: tuple[int, ...] | None = None
    crop: tuple[int, ...] | None = None
    channel_order: Order | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resample: Filter | None = None
    preprocess: str | None = None

    def __post_init__(self) -> None:
        for name, converted in (
            ("size", given_sides),
            ("crop", given_sides),
            ("mean", given_numbers),
            ("std", given_numbers),
        ):
            object.__setattr__(self, name, converted(getattr(self, name)))
        changed(Preprocess(), self._given(), "given")  # refuses values that cannot be

    @property
    def metric_name(self) -> str:
        """Name of the score."""
        return "accuracy"

    def open(self, request: DataRequest) -> TaskData:
        """Images from class folders, or named by a csv.

        Raises:
            DataError: See `Task.open`.
        """
        places = locate(request, TABLES, NEEDED)
        entry = ImageInput.of(request.model)
        preprocess, file = self._preprocess(request, entry)
        listings = {path: list_images(path) for path in places.paths}
        for path in places.judged:
            check_labels(listings[path])
        numbers = number_listings(tuple(listings.values()), request.model)

        def read(path: Path) -> Images:
            found = listings[path]
            labels = tuple(numbers[name] for name in found.names)  # none for calibration alone
            return Images(files=found.files, labels=labels, entry=entry, preprocess=preprocess)

        data = divide(places, read, request.seed)
        data.calibration.samples.feed(data.calibration.indices[0])  # sizes that do not fit
        is_float = dtype_of(entry.tensor).kind == "f"  # a model of bytes normalizes them itself
        return replace(
            data,
            remarks=preprocess.remarks() if is_float else (),
            files=data.files if file is None else (*data.files, file),
            description=(
                ("preprocessing", preprocess.describe()),
                ("classes", describe(numbers)),
            ),
        )

    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        """[top-1 hit, top-5 hit, number of classes]."""
        return hits(outputs, label)

    def score(self, rows: NDArray[np.float64]) -> float:
        """Share of top-1 hits."""
        return float(rows[:, 0].mean())

    def metrics(self, rows: NDArray[np.float64]) -> dict[str, float]:
        """Accuracy, and top-5 accuracy where there are more than five classes."""
        return accuracies(rows)

    def _given(self) -> dict[str, object]:
        names = ("size", "crop", "channel_order", "scale", "mean", "std", "resample")
        return {name: getattr(self, name) for name in names}

    def _preprocess(
        self, request: DataRequest, entry: ImageInput
    ) -> tuple[Preprocess, Path | None]:
        fixed = entry.height is not None and entry.width is not None
        default = Preprocess(
            size=(entry.height, entry.width) if fixed else None,  # type: ignore[arg-type]
            scale=1.0 if dtype_of(entry.tensor).kind in "iu" else 1 / 255,
            origin="defaults and the shape of the model's input",
        )
        data = request.path if request.path is not None else Path()
        folders = [data if data.is_dir() else data.parent, request.model.path.parent]
        if request.model.folder is not None:
            folders.append(request.model.folder)
        given = None if self.preprocess is None else Path(self.preprocess)
        base, file = find_preprocess(given, tuple(folders), request.model, default)
        origin = f"as given, else {base.origin}"
        return changed(base, self._given(), origin), file
