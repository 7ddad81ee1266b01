"""From a decoded image to the array that a model takes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml

from gossamer import plugins
from gossamer.errors import DataError, RecipeError
from gossamer.tasks._config import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from gossamer.source import FloatModel

Order = Literal["rgb", "bgr"]
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
ORDERS = ("rgb", "bgr")
# the numbers are Pillow's own, which Hugging Face configurations store
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """Resize, crop, channel order, x scale, - mean, / std, in this order.

    Attributes:
        size: Height and width; one number is the shorter side if a crop follows, else both.
        crop: Height and width cut from the middle; beyond the image there is black.
        channel_order: Order in which the model takes the channels.
        scale: Factor on the values 0 to 255.
        mean: Subtracted after scaling, in the model's channel order; one number serves all. None is
            0, where nobody said any.
        std: Divides after that, likewise; None is 1.
        resample: Filter that resizes.
        origin: Where these values come from, for reports and messages.
    """

    size: tuple[int, ...] | None = None
    crop: tuple[int, ...] | None = None
    channel_order: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resample: str = "bilinear"
    origin: str = "defaults"

    def __post_init__(self) -> None:
        for name in ("size", "crop"):
            sides = getattr(self, name)
            if sides is not None and not (
                1 <= len(sides) <= 2 and all(isinstance(n, int) and n > 0 for n in sides)
            ):
                raise RecipeError(
                    f"one or two positive whole numbers for {name}",
                    f"{sides!r} ({self.origin})",
                    "Height first: 224, or 240x320.",
                )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and not (
                values and all(isinstance(v, int | float) for v in values)
            ):
                raise RecipeError(
                    f"numbers for {name}",
                    f"{values!r} ({self.origin})",
                    "One for all channels, or one for each: 0.485,0.456,0.406.",
                )
        if 0 in (self.std or ()) or not self.scale:
            raise RecipeError(
                "std and scale other than 0",
                f"{self.std}, {self.scale}",
                "Leave out what changes nothing; std is 1 then, scale 1/255.",
            )
        for name, known in (("channel_order", ORDERS), ("resample", tuple(FILTERS))):
            if getattr(self, name) not in known:
                raise plugins.unknown(f"a value of {name}", str(getattr(self, name)), known)

    def array(self, image: Image, channels: int, dtype: np.dtype[np.generic]) -> NDArray[Any]:
        """The image as the model takes it, `[height, width, channels]`.

        Raises:
            DataError: As many means or stds as the model has not channels.
        """
        means, stds = self.mean or (0.0,), self.std or (1.0,)
        for name, values in (("mean", means), ("std", stds)):
            if len(values) not in {1, channels}:
                raise DataError(
                    f"one number{f' or {channels}' if channels > 1 else ''} for {name}",
                    f"{values} ({self.origin})",
                    "Give one number for all channels, or one for each.",
                )
        x = np.asarray(self._cut(self._resized(image)), np.float32)
        x = x.reshape(*x.shape[:2], channels)
        if self.channel_order == "bgr":
            x = x[:, :, ::-1]
        mean, std = np.array(means, np.float32), np.array(stds, np.float32)
        x = (x * np.float32(self.scale) - mean) / std
        if dtype.kind in "iu":
            info = np.iinfo(dtype.name)
            x = np.clip(np.rint(x), info.min, info.max)
        array: NDArray[Any] = x.astype(dtype)
        return array

    def describe(self) -> str:
        """All values in one line."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        origin = values.pop("origin")
        return ", ".join(f"{k}={v}" for k, v in values.items() if v is not None) + f" ({origin})"

    def remarks(self) -> tuple[str, ...]:
        """What is to be known before the score of a model of float pixels is believed."""
        if self.mean is not None or self.std is not None:
            return ()
        to = "to 0..1" if self.scale == 1 / 255 else f"by {self.scale:g}"
        return (
            f"No mean or std of pixels is given: they are only scaled {to}. A model that was "
            "trained on normalized ones scores too low so, the float one too: give --mean and "
            "--std, or a preprocess.yaml.",
        )

    def _resized(self, image: Image) -> Image:
        if self.size is None:
            return image
        if len(self.size) == 2:
            height, width = self.size
        elif self.crop is None:
            height = width = self.size[0]
        else:
            side, short = self.size[0], min(image.size)
            width, height = (side if n == short else int(side * n / short) for n in image.size)
        if (width, height) == image.size:
            return image
        from PIL import Image as Pillow

        return image.resize((width, height), Pillow.Resampling(FILTERS[self.resample]))

    def _cut(self, image: Image) -> Image:
        if self.crop is None:
            return image
        height, width = self.crop[0], self.crop[-1]
        top, left = (image.height - height) // 2, (image.width - width) // 2
        return image.crop((left, top, left + width, top + height))


def find_preprocess(
    given: Path | None, folders: tuple[Path, ...], model: FloatModel, default: Preprocess
) -> tuple[Preprocess, Path | None]:
    """What the first of these says, and the file that was read.

    1. The `preprocess.yaml` that the user named. 2. One in the folders. 3. The image processor
    of the model's Hugging Face folder. 4. `default`.

    Raises:
        DataError: A file that cannot be read.
        RecipeError: A key that does not exist, or a value that cannot be.
    """
    if given is not None and not given.is_file():
        raise DataError("a file with preprocessing", f"{given}", "Check --preprocess.")
    beside = (folder / "preprocess.yaml" for folder in folders)
    path = given or next((p for p in beside if p.is_file()), None)
    if path is not None:
        return _from_yaml(path, default), path
    config = read_json(model.folder, "preprocessor_config.json")
    if not config:  # newer folders keep all that comes before the model in one file
        config = read_json(model.folder, "processor_config.json").get("image_processor") or {}
    return (_from_hugging_face(config) if config else default), None


def given_sides(value: object) -> tuple[int, ...] | None:
    """A size as the user wrote it, as a tuple: 224, [224, 224] or (240, 320)."""
    if value is None or isinstance(value, int):
        return None if value is None else (value,)
    return tuple(value) if isinstance(value, list | tuple) else (value,)  # type: ignore[return-value]


def given_numbers(value: object) -> tuple[float, ...] | None:
    """A mean or std as the user wrote it, as a tuple: 0.5 or [0.485, 0.456, 0.406]."""
    if value is None or isinstance(value, int | float):
        return None if value is None else (float(value),)
    return tuple(value) if isinstance(value, list | tuple) else (value,)  # type: ignore[return-value]


def changed(base: Preprocess, values: Mapping[str, object], origin: str) -> Preprocess:
    """`base` with the values that are not None."""
    given: dict[str, Any] = {k: v for k, v in values.items() if v is not None}
    if not given:
        return base
    if "crop" in given and "size" not in given and base.crop is None:
        given["size"] = None  # the base's size was not meant to be cut from: the image itself is
    return replace(base, **given, origin=origin)


def _from_yaml(path: Path, default: Preprocess) -> Preprocess:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise DataError("preprocessing as YAML", f"{path}: {error}", "Repair it.") from error
    known = tuple(f.name.replace("_", "-") for f in fields(Preprocess) if f.name != "origin")
    if not isinstance(value, dict):
        raise DataError(
            f"a mapping with {', '.join(known)}",
            f"{value!r} in {path}",
            "Write one key in each line: mean: [0.485, 0.456, 0.406].",
        )
    values = {}
    for key, raw in value.items():
        if str(key).replace("_", "-") not in known:
            raise plugins.unknown(f"a key of {path}", str(key), known)
        values[str(key).replace("-", "_")] = _converted(str(key).replace("-", "_"), raw)
    return changed(default, values, str(path))


def _converted(key: str, raw: object) -> object:
    if key in {"size", "crop"}:
        return given_sides(raw)
    if key in {"mean", "std"}:
        return given_numbers(raw)
    if key == "scale" and not isinstance(raw, int | float):
        raise RecipeError("a number for scale", repr(raw), "The default is 1/255 = 0.003921569.")
    return raw


def _from_hugging_face(config: Mapping[str, Any]) -> Preprocess:
    """Resize, centre crop, rescale, normalize and flip as image processors do them."""
    size, crop = _sides(config.get("size")), _sides(config.get("crop_size"))
    if not config.get("do_resize", True):
        size = None
    if not config.get("do_center_crop", crop is not None):
        crop = None
    shortest = _shortest(config.get("size"))
    if size is not None and shortest and crop is None and config.get("crop_pct"):
        # ConvNeXt: small pictures are cut from a larger resize, large ones only resized
        crop = (shortest, shortest) if shortest < 384 else None
        size = (int(shortest / config["crop_pct"]),) if crop else (shortest, shortest)
    offset = 1.0 if config.get("rescale_offset") else 0.0
    normal = bool(config.get("do_normalize", True))
    mean = given_numbers(config.get("image_mean") if normal else None) or (0.0,)
    std = given_numbers(config.get("image_std") if normal else None) or (1.0,)
    filters = {number: name for name, number in FILTERS.items()}
    factor = float(config.get("rescale_factor", 1 / 255))
    return Preprocess(
        size=size,
        crop=crop,
        channel_order="bgr" if config.get("do_flip_channel_order") else "rgb",
        scale=factor if config.get("do_rescale", True) else 1.0,
        mean=tuple(m + offset for m in mean),
        std=std,
        resample=filters.get(config.get("resample", 2), "bilinear"),
        origin="the model's image processor",
    )


def _sides(value: object) -> tuple[int, ...] | None:
    if isinstance(value, dict):
        if "height" in value and "width" in value:
            return (int(value["height"]), int(value["width"]))
        return (int(value["shortest_edge"]),) if "shortest_edge" in value else None
    return (int(value), int(value)) if isinstance(value, int) else None


def _shortest(value: object) -> int:
    if isinstance(value, dict):
        return int(value.get("shortest_edge") or 0)
    return value if isinstance(value, int) else 0
