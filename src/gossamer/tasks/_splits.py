"""Where the rows of calibration, search and report lie, and how they are divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import DataError
from gossamer.task import (
    DEFAULT_CALIBRATION,
    Split,
    TaskData,
    draw,
    halves,
    split_indices,
    training_indices,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gossamer.task import DataRequest, Samples

REPORT_NAMES = ("test", "validation", "valid", "val", "dev")


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """The files or folders that hold a task's rows.

    Attributes:
        main: The one file or folder, or the training part of two.
        report: The part to report on, if it lies apart.
        calibration: Rows for calibration alone, if they lie apart.
    """

    main: Path
    report: Path | None = None
    calibration: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, the main one first."""
        return tuple(p for p in (self.main, self.report, self.calibration) if p is not None)

    @property
    def judged(self) -> tuple[Path, ...]:
        """Those whose labels count."""
        return tuple(p for p in (self.main, self.report) if p is not None)


def locate(request: DataRequest, suffixes: tuple[str, ...], needed: str) -> Places:
    """Where the asked data lies.

    A folder with `train` and `test` (or `validation`, `valid`, `val`, `dev`), as folders or as
    files with one of the suffixes, is two places; everything else is one.

    Raises:
        DataError: Nothing there, a file of another kind, or calibration data that is a part of
            the data to judge by.
    """
    if request.path is None:
        raise DataError(needed, "no data", "Give it with --data PATH, or use the task fidelity.")
    main, report = _pair(_existing(request.path, suffixes, needed), suffixes)
    places = Places(main=main, report=report)
    if request.calibration_path is None:
        return places
    calibration = _existing(request.calibration_path, suffixes, needed)
    for place in places.judged:
        if overlap(place, calibration):
            raise DataError(
                "calibration data apart from the data that judges",
                f"{calibration}, which shares rows with {place}",
                "Without --calibration-data, calibration rows are split off by themselves.",
            )
    return Places(main=main, report=report, calibration=calibration)


def divide(places: Places, read: Callable[[Path], Samples], seed: int) -> TaskData:
    """The three splits.

    One place: calibration = min(128, half), the rest is halved. Two places: the first gives
    calibration = min(128, half) and search = the rest, the second is the report. Calibration data
    of its own gives up to 128 rows, and the main place none.

    Raises:
        DataError: Too few rows, or what `read` raises.
    """
    main = read(places.main)
    if places.calibration is not None:
        own = read(places.calibration)
        calibration = _split(own, draw(len(own), DEFAULT_CALIBRATION, seed))
        if places.report is None:
            first, second = halves(len(main), seed)
            search, report = _split(main, first), _split(main, second)
        else:
            search, report = _split(main, range(len(main))), _whole(read(places.report))
    elif places.report is not None:
        first, second = training_indices(len(main), seed)
        calibration, search = _split(main, first), _split(main, second)
        report = _whole(read(places.report))
    else:
        parts = split_indices(len(main), seed)
        calibration, search, report = (_split(main, part) for part in parts)
    return TaskData(calibration=calibration, search=search, report=report, files=places.paths)


def _split(samples: Samples, indices: tuple[int, ...] | range) -> Split:
    return Split(samples=samples, indices=tuple(indices))


def _whole(samples: Samples) -> Split:
    return _split(samples, range(len(samples)))


def _existing(path: Path, suffixes: tuple[str, ...], needed: str) -> Path:
    if not path.exists():
        raise DataError(needed, f"{path}, which does not exist", "Check the path.")
    if path.is_file() and path.suffix.lower() not in suffixes:
        raise DataError(
            needed,
            f"{path}",
            f"Files that can be read end in {', '.join(suffixes)}; others may need another --task.",
        )
    return path


def _pair(path: Path, suffixes: tuple[str, ...]) -> tuple[Path, Path | None]:
    train = _member(path, "train", suffixes)
    report = next((p for n in REPORT_NAMES if (p := _member(path, n, suffixes))), None)
    return (train, report) if train and report else (path, None)


def _member(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path | None:
    # a table beside a folder of the same name describes what lies in the folder
    files = (p for s in suffixes if (p := folder / f"{name}{s}").is_file())
    return next(files, folder / name if (folder / name).is_dir() else None)


def overlap(place: Path, calibration: Path) -> bool:
    """Whether one of two places is the other, or lies in it."""
    place, calibration = place.resolve(), calibration.resolve()
    return place == calibration or place in calibration.parents or calibration in place.parents
