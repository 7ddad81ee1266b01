"""Labelled images: class folders, or files with a table of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import DataError
from gossamer.task import Samples
from gossamer.tasks._dtypes import dtype_of
from gossamer.tasks._labels import check_variety, number_classes
from gossamer.tasks._tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from gossamer.runtime import Feed
    from gossamer.source import FloatModel, TensorType
    from gossamer.task import Label
    from gossamer.tasks._preprocess import Preprocess

NEEDED = "a folder with one folder of images per class, or images and a csv with file,label"
TABLES = (".csv", ".tsv")
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"),
)
# formats that hold channels of one byte convert to these
MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInput:
    """How a model takes an image.

    Attributes:
        channels_first: NCHW, else NHWC.
        height: None where the model leaves it open.
    """

    tensor: TensorType
    channels_first: bool
    channels: int
    height: int | None
    width: int | None

    @classmethod
    def of(cls, model: FloatModel) -> ImageInput:
        """What the one input of the model says.

        Raises:
            DataError: Several inputs, or one that is no image of 1 or 3 channels.
        """
        shape = model.inputs[0].shape if model.inputs else None
        if len(model.inputs) != 1 or shape is None or len(shape) != 4:
            raise DataError(
                "a model with one input of rank 4, an image",
                ", ".join(f"{t.name} {t.shape}" for t in model.inputs) or "none",
                "Save arrays as .npz and use --task classification.",
            )
        sizes = [d if isinstance(d, int) else None for d in shape]
        first = sizes[1] in MODES or (sizes[1] is None and sizes[3] not in MODES)
        _, channels, height, width = sizes if first else [sizes[0], sizes[3], sizes[1], sizes[2]]
        if channels is None:
            channels = 3
        if channels not in MODES:
            raise DataError(
                "1 or 3 channels",
                f"{model.inputs[0].name} of shape {shape}",
                "Save arrays as .npz and use --task classification.",
            )
        return cls(
            tensor=model.inputs[0],
            channels_first=first,
            channels=channels,
            height=height,
            width=width,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Images(Samples):
    """Images decoded when they are asked for."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    entry: ImageInput
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.files)

    def feed(self, index: int) -> Feed:
        """One image as the model takes it."""
        path, entry = self.files[index], self.entry
        image = _decoded(path, MODES[entry.channels])
        x = self.preprocess.array(image, entry.channels, dtype_of(entry.tensor))
        wanted = (entry.height or x.shape[0], entry.width or x.shape[1])
        if x.shape[:2] != wanted:
            raise DataError(
                f"images of {wanted[0]} x {wanted[1]} after preprocessing",
                f"{x.shape[0]} x {x.shape[1]} from {path} with {self.preprocess.describe()}",
                "Set --size, or --size and --crop, to what the model takes.",
            )
        if entry.channels_first:
            x = x.transpose(2, 0, 1)
        return {entry.tensor.name: np.ascontiguousarray(x[None])}

    def label(self, index: int) -> Label:
        """The class of one image, None in a folder without classes."""
        return self.labels[index] if self.labels else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Images of one place by the names of their classes, as found, before numbering.

    Attributes:
        classes: Every class that the place names, those without images included.
        folders: The names are names of folders.
    """

    path: Path
    files: tuple[Path, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    folders: bool


def list_images(path: Path) -> Listing:
    """The images of a place: a csv, a folder with a csv, or a folder of class folders.

    Raises:
        DataError: No images, files that a csv names but that are not there, several
            csv, or files that no decoder knows.
    """
    table = path if path.is_file() else _table_in(path)
    found = _from_folders(path) if table is None else _from_table(table)
    if not found.files:
        raise DataError(NEEDED, f"{path} without images", f"Known are {', '.join(SUFFIXES)}.")
    for file in found.files:
        _check_header(file)
    return found


def check_labels(listing: Listing) -> None:
    """Nothing, if the images can judge a model.

    Raises:
        DataError: No labels, or one class only.
    """
    if not listing.names:
        raise DataError(
            NEEDED,
            f"the folder {listing.path} with images but no classes",
            "A folder can also hold train and test, each with its class folders.",
        )
    check_variety(listing.names, listing.path)


def number_listings(listings: tuple[Listing, ...], model: FloatModel) -> dict[str, int]:
    """The class number of every name in all places together.

    Raises:
        DataError: See `number_classes`.
    """
    names = {name for listing in listings for name in listing.classes}
    return number_classes(names, model, folders=any(listing.folders for listing in listings))


def _table_in(folder: Path) -> Path | None:
    tables = sorted(p for p in folder.iterdir() if p.suffix.lower() in TABLES)
    named = [p for p in tables if p.stem == "labels"]
    if len(tables) > 1 and len(named) != 1:
        raise DataError(
            "one csv with file,label",
            f"{', '.join(p.name for p in tables)} in {folder}",
            "Name the right one: --data FOLDER/labels.csv.",
        )
    return next(iter(named or tables), None)


def _from_folders(root: Path) -> Listing:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    files, names = [], []
    for folder in folders:
        images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        files += images
        names += [folder.name] * len(images)
    if not files:  # enough to calibrate with
        files = sorted(p for p in root.iterdir() if p.suffix.lower() in SUFFIXES)
        folders = []
    return Listing(
        path=root,
        files=tuple(files),
        names=tuple(names),
        classes=tuple(folder.name for folder in folders),
        folders=True,
    )


def _from_table(path: Path) -> Listing:
    table = read_table(path)
    rows, header = table.rows, tuple(cell.strip().lower() for cell in table.rows[0])
    file_column, label_column = 0, 1
    if "label" in header and (named := [n for n in header if n in {"file", "filename", "image"}]):
        file_column, label_column = header.index(named[0]), header.index("label")
        rows = rows[1:]
    if any(len(row) < 2 for row in rows):
        raise DataError(
            "a csv with file,label",
            f"a row of one cell in {path}",
            "Every row is a file and its label.",
        )
    roots = (path.parent, path.parent / "images", path.parent / path.stem)
    files, names = [], []
    for row in rows:
        name = row[file_column].strip()
        found = next((root / name for root in roots if (root / name).is_file()), None)
        if found is None:
            raise DataError(
                f"the image that {path} names",
                f"no {name} in {roots[0]} or its folders images and {path.stem}",
                "Files are named relative to the csv.",
            )
        files.append(found)
        names.append(row[label_column].strip())
    return Listing(
        path=path,
        files=tuple(files),
        names=tuple(names),
        classes=tuple(sorted(set(names))),
        folders=False,
    )


def _check_header(path: Path) -> None:
    """Refuse a file that is no image; its pixels are decoded later."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(path):
            pass
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise _broken(path, error) from error


def _decoded(path: Path, mode: str) -> Image:
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as image:
            return image.convert(mode)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DataError:
    return DataError("an image that can be decoded", f"{path}: {error}", "Remove it or replace it.")
