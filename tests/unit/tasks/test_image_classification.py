"""Class folders and csv become labelled images; what cannot be used is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gossamer.errors import DataError, MeasureError, RecipeError
from gossamer.task import DataRequest, TaskData
from gossamer.tasks.image_classification import ImageClassification
from zoo.judged import image_model, model, tensor, write_images


def opened(path: Path, signature: Any = None, calibration: Any = None, **options: Any) -> TaskData:
    request = DataRequest(model=signature or image_model(), path=path, calibration_path=calibration)
    return ImageClassification(**options).open(request)


def labels(data: TaskData) -> dict[str, Any]:
    samples: Any = data.search.samples
    return {f"{p.parent.name}/{p.name}": samples.label(i) for i, p in enumerate(samples.files)}


def test_class_folders_are_numbered_by_name(tmp_path: Path) -> None:
    data = opened(write_images(tmp_path, ("dog", "ant", "cat")))

    found = labels(data)

    assert (found["ant/0.png"], found["cat/0.png"], found["dog/3.png"]) == (0, 1, 2)
    assert ("classes", "ant=0, cat=1, dog=2") in data.description


def test_folders_named_by_numbers_are_in_their_order(tmp_path: Path) -> None:
    found = labels(opened(write_images(tmp_path, ("10", "9", "2"))))

    assert (found["2/0.png"], found["9/0.png"], found["10/0.png"]) == (0, 1, 2)


def test_the_models_own_numbers_of_the_classes_win(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "Dog", "1": "cat, puss"}}))

    found = labels(opened(write_images(tmp_path / "data"), image_model(folder=folder)))

    assert (found["dog/0.png"], found["cat/0.png"]) == (0, 1)


def test_classes_of_which_the_model_knows_only_some_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"label2id": {"cat": 1, "bird": 0}}))

    with pytest.raises(DataError, match="dog beside names that are"):
        opened(write_images(tmp_path / "data"), image_model(folder=folder))


def test_a_class_of_the_training_part_keeps_its_number_in_the_report(tmp_path: Path) -> None:
    write_images(tmp_path / "train", ("a", "b", "c"))
    write_images(tmp_path / "test", ("b", "c"))

    report: Any = opened(tmp_path).report.samples

    assert {report.label(i) for i in range(len(report))} == {1, 2}


@pytest.mark.parametrize("header", ["", "file,label\n"])
@pytest.mark.parametrize("place", ["", "images"])
def test_a_csv_names_files_and_labels(tmp_path: Path, header: str, place: str) -> None:
    write_images(tmp_path / place if place else tmp_path, ("a", "b"))
    lines = [f"{c}/{i}.png,{n}" for c, n in (("a", 5), ("b", 7)) for i in range(4)]
    (tmp_path / "labels.csv").write_text(header + "\n".join(lines))

    by_folder = opened(tmp_path)
    by_file = opened(tmp_path / "labels.csv")

    assert set(labels(by_folder).values()) == {5, 7}
    assert labels(by_file) == labels(by_folder)


def test_a_csv_may_name_classes(tmp_path: Path) -> None:
    write_images(tmp_path, ("x",), count=4)
    (tmp_path / "labels.csv").write_text(
        "label,file\n" + "".join(f"{'dog' if i % 2 else 'cat'},x/{i}.png\n" for i in range(4))
    )

    assert labels(opened(tmp_path)) == {"x/0.png": 0, "x/1.png": 1, "x/2.png": 0, "x/3.png": 1}


def test_a_csv_beside_a_folder_of_its_name_describes_it(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_images(tmp_path / part / "all", ("x",), count=4)
        lines = [f"all/x/{i}.png,{i % 2}" for i in range(4)]
        (tmp_path / f"{part}.csv").write_text("\n".join(lines))

    data = opened(tmp_path)

    assert data.files == (tmp_path / "train.csv", tmp_path / "test.csv")
    assert len(data.report) == 4


def test_images_without_classes_calibrate(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    write_images(tmp_path / "own", ("x",), count=3)

    data = opened(tmp_path / "data", calibration=tmp_path / "own" / "x")

    assert len(data.calibration) == 3
    assert data.calibration.samples.label(0) is None
    assert len(data.search) == 4


@pytest.mark.parametrize(("shape", "first"), [((1, 3, 8, 6), True), ((1, 8, 6, 3), False)])
def test_channels_are_where_the_model_has_them(tmp_path: Path, shape: Any, first: bool) -> None:
    write_images(tmp_path)

    x = next(opened(tmp_path, model(tensor("i", *shape))).search.feeds())["i"]

    assert x.shape == shape
    pixel = x[0, :, 0, 0] if first else x[0, 0, 0]
    assert pixel[2] == pytest.approx(200 / 255)


def test_a_grey_model_gets_grey_images(tmp_path: Path) -> None:
    write_images(tmp_path)

    x = next(opened(tmp_path, model(tensor("i", "n", 1, 8, 8)), mean=0.5).search.feeds())["i"]

    assert x.shape == (1, 1, 8, 8)


def test_open_sides_keep_the_size_of_the_image(tmp_path: Path) -> None:
    write_images(tmp_path, side=5)
    signature = model(tensor("i", "n", 3, "height", "width"))

    assert next(opened(tmp_path, signature).search.feeds())["i"].shape == (1, 3, 5, 5)


def test_images_of_every_mode_are_converted(tmp_path: Path) -> None:
    for c in "ab":
        (tmp_path / c).mkdir()
        for i, mode in enumerate(("L", "RGBA", "P", "CMYK", "1", "LA")):
            name = f"{i}.tiff" if mode == "CMYK" else f"{i}.png"
            Image.new(mode, (8, 8)).save(tmp_path / c / name)

    data = opened(tmp_path)

    for split in (data.calibration, data.search, data.report):
        assert {x["image"].shape for x in split.feeds()} == {(1, 3, 8, 8)}


def test_yaml_beside_the_images_is_used_and_recorded(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "preprocess.yaml").write_text("scale: 1")

    data = opened(tmp_path, mean=[1.0, 2.0, 3.0])

    assert data.files == (tmp_path, tmp_path / "preprocess.yaml")
    assert next(data.search.feeds())["image"][0, 2, 0, 0] == 200 - 3


def test_options_are_checked_before_any_file_is_opened() -> None:
    with pytest.raises(RecipeError, match="positive whole numbers for size"):
        ImageClassification(size=(0,))


def test_a_size_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8 x 8 after preprocessing") as caught:
        opened(write_images(tmp_path), size=7)

    assert "Set --size" in caught.value.hint


def test_a_broken_image_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    write_images(tmp_path, side=64)
    for file in tmp_path.rglob("*.png"):
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[:2000])

    with pytest.raises(DataError, match=r"[0-3]\.png"):
        opened(tmp_path)


def test_a_file_that_is_no_image_is_named_at_once(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "dog" / "2.png").write_text("hello")

    with pytest.raises(DataError, match=r"2\.png"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [(("n", 3), "one input of rank 4"), (("n", 7, 8, 9), "1 or 3 channels")],
)
def test_a_model_that_takes_no_image_is_refused(tmp_path: Path, shape: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(write_images(tmp_path), model(tensor("i", *shape)))


def test_a_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    image = tensor("i", 1, 3, 8, 8)

    with pytest.raises(DataError, match="one input of rank 4"):
        opened(write_images(tmp_path), model(image, tensor("mask", 1, 8)))


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two different labels"):
        opened(write_images(tmp_path, ("cat",)))


def test_images_without_classes_cannot_judge(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images but no classes"):
        opened(write_images(tmp_path, ("cat",)) / "cat")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()

    with pytest.raises(DataError, match="without images"):
        opened(tmp_path)


def test_a_csv_that_names_a_file_which_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\na.png,0\n")

    with pytest.raises(DataError, match=r"no a\.png"):
        opened(tmp_path)


def test_several_csv_need_a_choice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("a.png,0\n")

    with pytest.raises(DataError, match=r"one\.csv, two\.csv"):
        opened(tmp_path)


def test_a_row_says_whether_the_best_class_and_the_best_five_hit() -> None:
    task = ImageClassification()
    z = np.array([[0.1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]], np.float32)

    rows = np.stack([task.row({"z": z}, label, None) for label in (1, 2, 5, 6)])

    assert task.metrics(rows) == {"accuracy": 0.25, "top5": 0.75}
    assert task.score(rows) == 0.25


def test_of_equal_numbers_the_first_class_wins() -> None:
    task = ImageClassification()
    z = {"z": np.zeros((1, 3), np.float32)}

    assert task.row(z, 0, None)[0] == 1
    assert task.row(z, 1, None)[0] == 0
    assert task.metrics(np.stack([task.row(z, 0, None)])) == {"accuracy": 1.0}


def test_a_label_that_the_model_has_no_class_for_is_refused() -> None:
    with pytest.raises(DataError, match="labels from 0 to 2"):
        ImageClassification().row({"z": np.zeros((1, 3), np.float32)}, 3, None)


def test_an_output_without_classes_is_refused() -> None:
    with pytest.raises(DataError, match="at least two classes"):
        ImageClassification().row({"z": np.zeros((1, 8, 8), np.float32)}, 0, None)


def test_an_output_that_is_not_finite_fails_the_candidate() -> None:
    with pytest.raises(MeasureError, match="NaN or Inf"):
        ImageClassification().row({"z": np.full((1, 3), np.nan, np.float32)}, 0, None)


def test_pixels_that_are_only_scaled_are_told(tmp_path: Path) -> None:
    write_images(tmp_path)

    plain, scaled = opened(tmp_path), opened(tmp_path, scale=0.5)
    given, bytes_in = (
        opened(tmp_path, mean=0.0),
        opened(tmp_path, model(tensor("i", "n", 3, 8, 8, dtype="uint8"))),
    )
    (tmp_path / "preprocess.yaml").write_text("std: 0.5")

    assert "only scaled to 0..1" in plain.remarks[0]
    assert "--mean and --std" in plain.remarks[0]
    assert "only scaled by 0.5" in scaled.remarks[0]
    assert given.remarks == bytes_in.remarks == opened(tmp_path).remarks == ()
