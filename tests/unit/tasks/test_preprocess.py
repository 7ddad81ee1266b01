"""Images become arrays exactly as flags, YAML or an image processor say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gossamer.errors import DataError, GossamerError, RecipeError
from gossamer.tasks._preprocess import Preprocess, find_preprocess, given_numbers
from zoo.judged import image_model

FLOAT32 = np.dtype(np.float32)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """60 wide, 40 high; no two pixels alike."""
    y, x = np.mgrid[:40, :60]
    return Image.fromarray(np.stack([x * 4, y * 6, x + y], -1).astype(np.uint8))


def array(preprocess: Preprocess, image: Image.Image, channels: int = 3) -> Any:
    return preprocess.array(image, channels, FLOAT32)


def found(text: str, folder: Path, default: Preprocess | None = None) -> Preprocess:
    (folder / "preprocess.yaml").write_text(text)
    return find_preprocess(None, (folder,), image_model(), default or Preprocess())[0]


def processor(config: dict[str, Any], folder: Path) -> Preprocess:
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return find_preprocess(None, (), image_model(folder=folder), Preprocess())[0]


def test_by_default_values_are_scaled_to_0_and_1(picture: Image.Image) -> None:
    x = array(Preprocess(), picture)

    assert x.shape == (40, 60, 3)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[10, 20], [80 / 255, 60 / 255, 30 / 255], rtol=1e-6)


def test_mean_and_std_are_in_the_models_channel_order(picture: Image.Image) -> None:
    preprocess = Preprocess(channel_order="bgr", scale=1.0, mean=(1, 2, 3), std=(1, 2, 4))

    assert array(preprocess, picture)[10, 20].tolist() == [30 - 1, (60 - 2) / 2, (80 - 3) / 4]


def test_a_crop_is_cut_from_the_middle(picture: Image.Image) -> None:
    x = array(Preprocess(crop=(20, 30), scale=1.0), picture)

    assert x.shape == (20, 30, 3)
    assert x[0, 0].tolist() == [15 * 4, 10 * 6, 25]


def test_a_crop_beyond_the_image_is_black(picture: Image.Image) -> None:
    x = array(Preprocess(crop=(44,), scale=1.0), picture)

    assert x.shape == (44, 44, 3)
    assert x[0].max() == 0
    assert x[2, 0].tolist() == [8 * 4, 0, 8]


@pytest.mark.parametrize(
    ("size", "crop", "expected"),
    [((20, 30), None, (20, 30)), ((20,), None, (20, 20)), ((20,), (16,), (16, 16))],
)
def test_one_number_is_the_shorter_side_if_a_crop_follows_else_both(
    picture: Image.Image, size: Any, crop: Any, expected: Any
) -> None:
    assert array(Preprocess(size=size, crop=crop), picture).shape[:2] == expected


def test_the_shorter_side_is_resized_with_the_other_in_proportion(picture: Image.Image) -> None:
    x = array(Preprocess(size=(20,), crop=(20, 30), scale=1.0), picture)

    wanted = np.asarray(picture.resize((30, 20), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(x, wanted)


def test_a_model_of_bytes_gets_rounded_bytes(picture: Image.Image) -> None:
    x = Preprocess(scale=2.0, mean=(0.4,)).array(picture, 3, np.dtype(np.uint8))

    assert x.dtype == np.uint8
    assert x[10, 20].tolist() == [160, 120, 60]
    assert x[10, 50].tolist() == [255, 120, 120]


def test_as_many_means_as_channels_are_needed(picture: Image.Image) -> None:
    with pytest.raises(DataError, match="needed one number for mean"):
        array(Preprocess(mean=(1, 2, 3)), picture.convert("L"), channels=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": (0,)}, "positive whole numbers for size"),
        ({"size": (1, 2, 3)}, "positive whole numbers for size"),
        ({"crop": (2.5,)}, "positive whole numbers for crop"),
        ({"mean": ("a",)}, "numbers for mean"),
        ({"std": ()}, "numbers for std"),
        ({"std": (1.0, 0.0)}, "std and scale other than 0"),
        ({"scale": 0.0}, "std and scale other than 0"),
        ({"channel_order": "rbg"}, "Did you mean"),
        ({"resample": "cubic"}, "Did you mean bicubic"),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Preprocess(**values)


def test_yaml_beside_the_data_is_read(tmp_path: Path) -> None:
    text = "crop: 227\nchannel-order: bgr\nscale: 1\nmean: [104, 117, 123]\n"

    preprocess = found(text, tmp_path, Preprocess(size=(227, 227)))

    assert preprocess.size is None  # the crop is cut from the image as it is
    assert preprocess.crop == (227,)
    assert preprocess.channel_order == "bgr"
    assert preprocess.mean == (104, 117, 123)
    assert preprocess.origin == str(tmp_path / "preprocess.yaml")


def test_what_yaml_leaves_out_is_as_by_default(tmp_path: Path) -> None:
    preprocess = found("mean: 0.5", tmp_path, Preprocess(size=(8, 8)))

    assert (preprocess.size, preprocess.mean, preprocess.scale) == ((8, 8), (0.5,), 1 / 255)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("means: 1", "Did you mean mean"),
        ("[1, 2]", "a mapping with size"),
        ("a: [", "preprocessing as YAML"),
        ("scale: big", "a number for scale"),
        ("size: large", "positive whole numbers for size"),
    ],
)
def test_yaml_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(GossamerError, match=message):
        found(text, tmp_path)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a file with preprocessing"):
        find_preprocess(tmp_path / "no.yaml", (), image_model(), Preprocess())


def test_yaml_wins_over_the_models_image_processor(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"size": 5}')
    (tmp_path / "preprocess.yaml").write_text("size: 7")

    preprocess, file = find_preprocess(
        None, (tmp_path,), image_model(folder=tmp_path), Preprocess()
    )

    assert preprocess.size == (7,)
    assert file == tmp_path / "preprocess.yaml"


def test_an_image_processor_resizes_and_normalizes(tmp_path: Path) -> None:
    config = {
        "do_resize": True,
        "size": {"height": 224, "width": 192},
        "resample": 3,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.2, 0.2, 0.2],
    }

    assert processor(config, tmp_path) == Preprocess(
        size=(224, 192),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        resample="bicubic",
        origin="the model's image processor",
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"size": 224}, {"size": (224, 224)}),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            {"size": (256,), "crop": (224, 224)},
        ),
        (
            {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": False},
            {"size": (256,)},
        ),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"size": (256,), "crop": (224, 224)}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {"size": (384, 384)}),
        ({"size": 224, "do_resize": False}, {}),
        ({"do_rescale": False, "do_normalize": False, "image_mean": [9]}, {"scale": 1.0}),
        ({"do_flip_channel_order": True}, {"channel_order": "bgr"}),
        (
            {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
            {"scale": 1 / 127.5, "mean": (1.0,)},
        ),
    ],
)
def test_switches_of_image_processors_are_followed(
    tmp_path: Path, config: dict[str, Any], expected: dict[str, Any]
) -> None:
    plain: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}  # as its configuration says
    wanted = Preprocess(origin="the model's image processor", **{**plain, **expected})

    assert processor(config, tmp_path) == wanted


def test_newer_folders_keep_the_image_processor_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 5}}')

    found, _ = find_preprocess(None, (), image_model(folder=tmp_path), Preprocess())

    assert found.size == (5, 5)


def test_a_processor_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text("{")

    with pytest.raises(DataError, match="a JSON object"):
        find_preprocess(None, (), image_model(folder=tmp_path), Preprocess())


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViTImageProcessorPil", {"size": {"height": 24, "width": 32}}),
        ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 28}, "crop_pct": 0.875}),
    ],
)
def test_arrays_equal_those_of_transformers(
    tmp_path: Path, picture: Image.Image, name: str, options: dict[str, Any]
) -> None:
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, name):
        pytest.skip(f"transformers without {name}")
    theirs = getattr(transformers, name)(**options)
    theirs.save_pretrained(tmp_path)
    ours, _ = find_preprocess(None, (), image_model(folder=tmp_path), Preprocess())

    wanted = theirs(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)

    np.testing.assert_allclose(array(ours, picture), wanted, atol=1e-5)


def test_numbers_come_in_any_usual_form() -> None:
    assert given_numbers(0.5) == (0.5,)
    assert given_numbers([1, 2]) == (1, 2)
    assert given_numbers(None) is None
