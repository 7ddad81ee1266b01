"""Where rows come from: one place, a training and a report part, calibration data of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer.errors import DataError
from gossamer.task import DataRequest, TaskData
from gossamer.tasks.fidelity import Fidelity
from zoo.judged import model, write_arrays


def opened(path: Path | None, calibration: Path | None = None, seed: int = 0) -> TaskData:
    request = DataRequest(model=model(), path=path, calibration_path=calibration, seed=seed)
    return Fidelity().open(request)


def sizes(data: TaskData) -> tuple[int, int, int]:
    return len(data.calibration), len(data.search), len(data.report)


def test_one_file_gives_all_three(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "a.npz", count=300)

    data = opened(file)

    assert sizes(data) == (128, 86, 86)
    assert data.files == (file,)


@pytest.mark.parametrize("name", ["test", "validation", "val", "dev"])
def test_train_gives_calibration_and_search_and_the_other_file_the_report(
    tmp_path: Path, name: str
) -> None:
    train = write_arrays(tmp_path / "train.npz", count=20)
    report = write_arrays(tmp_path / f"{name}.npz", count=7)

    data = opened(tmp_path)

    assert sizes(data) == (10, 10, 7)
    assert data.report.indices == tuple(range(7))
    assert data.files == (train, report)


def test_test_is_preferred_to_validation(tmp_path: Path) -> None:
    for name, count in (("train", 20), ("validation", 5), ("test", 6)):
        write_arrays(tmp_path / f"{name}.npz", count=count)

    assert sizes(opened(tmp_path)) == (10, 10, 6)


def test_parts_may_be_folders(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        for i in range(4):
            np.savez(tmp_path / name / f"{i}.npz", x=np.zeros((1, 3), np.float32))

    assert sizes(opened(tmp_path)) == (2, 2, 4)


def test_calibration_data_calibrates_alone_and_the_rest_is_halved(tmp_path: Path) -> None:
    main = write_arrays(tmp_path / "a.npz", count=20)
    own = write_arrays(tmp_path / "b.npz", count=200)

    data = opened(main, own)

    assert sizes(data) == (128, 10, 10)
    assert data.files == (main, own)
    assert data.calibration.samples is not data.search.samples


def test_calibration_data_leaves_the_whole_training_part_to_the_search(tmp_path: Path) -> None:
    write_arrays(tmp_path / "train.npz", count=20)
    write_arrays(tmp_path / "test.npz", count=7)
    own = write_arrays(tmp_path / "b.npz", count=5)

    assert sizes(opened(tmp_path, own)) == (5, 20, 7)


def test_calibration_data_that_also_judges_is_refused(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "a.npz")

    with pytest.raises(DataError, match="calibration data apart from the data that judges"):
        opened(file, tmp_path / ".." / tmp_path.name / "a.npz")


def test_the_same_seed_draws_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    file = write_arrays(tmp_path / "a.npz", count=40)

    assert opened(file, seed=1).search.indices == opened(file, seed=1).search.indices
    assert opened(file, seed=1).search.indices != opened(file, seed=2).search.indices


def test_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which does not exist"):
        opened(tmp_path / "nothing.npz")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")

    with pytest.raises(DataError, match=r"Files that can be read end in \.npz"):
        opened(tmp_path / "a.txt")


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"without any \.npz"):
        opened(tmp_path)
