import json

import datasets
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from bngan.data.decoding import convert, decode
from bngan.data.source import ReadOptions
from bngan.data.sources import is_symbolic, open_source


def png(pixels: np.ndarray, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def random_image(seed: int, size=(6, 8), channels: int = 3) -> np.ndarray:
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def first_pixels(source) -> np.ndarray:
    ((_, content),) = source.files(np.array([0]))
    return convert(decode(content), 3, None, "crop")


def test_a_folder_of_class_folders(tmp_path) -> None:
    for name in ("cat", "dog"):
        for i in range(3):
            png(random_image(i), tmp_path / "data" / name / f"{i}.png")
    source = open_source(str(tmp_path / "data"), tmp_path / "cache")["train"]
    assert len(source) == 6
    assert source.class_names() == ["cat", "dog"]
    assert sorted(source.labels()) == [0, 0, 0, 1, 1, 1]


def test_a_flat_folder_has_no_labels(tmp_path) -> None:
    for i in range(3):
        png(random_image(i), tmp_path / "data" / f"{i}.png")
    source = open_source(str(tmp_path / "data"), tmp_path / "cache")["train"]
    assert source.labels() == [None] * 3
    np.testing.assert_array_equal(first_pixels(source), random_image(0))


def table(rows: int) -> datasets.Dataset:
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.Value("int64")})
    images = [Image.fromarray(random_image(i)) for i in range(rows)]
    return datasets.Dataset.from_dict({"picture": images, "label": list(range(rows))}, features)


def test_parquet_files_in_the_hubs_layout(tmp_path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    table(5).to_parquet(folder / "train-00000-of-00001.parquet")
    table(3).to_parquet(folder / "test-00000-of-00001.parquet")
    sources = open_source(str(folder), tmp_path / "cache")
    assert {split: len(source) for split, source in sources.items()} == {"train": 5, "test": 3}
    assert list(sources["train"].labels()) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(first_pixels(sources["test"]), random_image(0))
    with pytest.raises(ValueError, match="no column 'pixels'"):
        open_source(str(folder), tmp_path / "cache2", ReadOptions(image_column="pixels"))


def test_what_save_to_disk_wrote(tmp_path) -> None:
    datasets.DatasetDict({"train": table(4)}).save_to_disk(str(tmp_path / "data"))
    source = open_source(str(tmp_path / "data"), tmp_path / "cache")["train"]
    np.testing.assert_array_equal(first_pixels(source), random_image(0))


def test_names_of_folders_make_splits_and_names_of_image_files_do_not(tmp_path) -> None:
    for i in range(3):
        png(random_image(i), tmp_path / "data" / f"image{i}.png")
    png(random_image(9), tmp_path / "data" / "test_9.png")
    (source,) = open_source(str(tmp_path / "data"), tmp_path / "cache").values()
    assert len(source) == 4
    for split, name in [("train", "cat"), ("train", "dog"), ("val", "dog"), ("test", "cat")]:
        png(random_image(0), tmp_path / "split" / split / name / "x.png")
    png(random_image(0), tmp_path / "split" / "y.png")
    sources = open_source(str(tmp_path / "split"), tmp_path / "cache")
    assert {split: source.labels() for split, source in sources.items()} == {
        "train": [0, 1],
        "validation": [1],
        "test": [0],
    }
    assert sources["train"].class_names() == ["cat", "dog"]
    assert sources["train"].ignored == {"y.png": "outside of the folders that make the splits"}


def test_folders_of_splits_are_no_classes(tmp_path) -> None:
    for split in ("train", "test"):
        png(random_image(0), tmp_path / split / "x.png")
    sources = open_source(str(tmp_path), tmp_path / "cache")
    assert [source.labels() for source in sources.values()] == [[None], [None]]


def test_images_in_a_folder_are_in_the_order_that_datasets_has_and_of_the_same_classes(
    tmp_path,
) -> None:
    for name in ("b/2.png", "b/10.PNG", "a/x y.png", "a-b/ü.jpg", "a/1.png"):
        png(random_image(0), tmp_path / "data" / name)
    ours = open_source(str(tmp_path / "data"), tmp_path / "cache")["train"]
    theirs = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    theirs = theirs["train"].cast_column("image", datasets.Image(decode=False))
    names = [row["path"].removeprefix(f"{tmp_path}/data/") for row in theirs["image"][:]]
    assert [row["path"] for row in ours.table["image"][:]] == names
    assert (ours.labels(), ours.class_names()) == (theirs["label"][:], ["a", "a-b", "b"])


def test_the_embedded_digits(tmp_path, digits) -> None:
    source = open_source("embedded:digits", tmp_path)["train"]
    images, labels = digits
    np.testing.assert_array_equal(source.labels(), labels)
    np.testing.assert_array_equal(first_pixels(source)[..., :1], images[0])


def test_a_folder_with_nothing_in_it_is_an_error(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match=r"holds no images, only 1 \.json"):
        open_source(str(tmp_path / "data"), tmp_path / "cache")


@pytest.mark.parametrize(
    ("mode", "expected"), [("L", "L"), ("1", "L"), ("RGB", "RGB"), ("P", "RGB"), ("CMYK", "RGB")]
)
def test_modes_become_grey_or_rgb(mode, expected, tmp_path) -> None:
    path = tmp_path / ("x.tiff" if mode == "CMYK" else "x.png")
    Image.fromarray(random_image(0)).convert(mode).save(path)
    assert decode(path.read_bytes()).mode == expected


def test_transparency_lies_over_white_and_16_bits_keep_their_range(tmp_path) -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    png(clear, tmp_path / "clear.png")
    assert np.asarray(decode((tmp_path / "clear.png").read_bytes())).min() == 255
    png(np.array([[0, 65535], [256, 32768]], np.uint16), tmp_path / "deep.png")
    assert np.asarray(decode((tmp_path / "deep.png").read_bytes())).tolist() == [[0, 255], [1, 128]]


def test_broken_files_are_named_not_guessed(tmp_path) -> None:
    png(random_image(0, (60, 60)), tmp_path / "x.png")
    whole = (tmp_path / "x.png").read_bytes()
    for content in (None, b"", b"no image", whole[: len(whole) // 2]):
        with pytest.raises(ValueError, match=r"no image|an empty file|unreadable"):
            decode(content)


def test_fits() -> None:
    wide = Image.fromarray(np.repeat(np.arange(16, dtype=np.uint8) * 16, 8).reshape(16, 8).T)
    assert wide.size == (16, 8)
    crop, pad, stretch = (
        convert(wide, 1, (8, 8), fit)[..., 0] for fit in ("crop", "pad", "stretch")
    )
    assert crop.shape == pad.shape == stretch.shape == (8, 8)
    assert crop[:, 0].mean() > 50  # the middle of the ramp
    assert pad[0].max() == 0
    assert pad[4].max() > 200
    assert stretch[:, 0].mean() < 30
    assert stretch[:, -1].mean() > 210
    assert convert(wide, 3, None, "crop").shape == (8, 16, 3)


def test_embedded_patches_of_two_splits_have_no_pixel_in_common(tmp_path) -> None:
    sources = open_source("embedded:patches", tmp_path)
    assert {split: len(source) for split, source in sources.items()} == {
        "train": 14_256,
        "test": 3_564,
    }
    assert sources["test"].class_names() == ["china", "flower"]
    assert set(sources["test"].labels()) == {0, 1}
    columns = {"train": set(), "test": set()}
    photograph = load_sample_image("china.jpg")
    for split, source in sources.items():
        for name, content in source.files(np.arange(0, len(source) // 2, 99)):
            pixels = np.asarray(decode(content))
            assert pixels.shape == (32, 32, 3), name
            for x in range(0, 609, 4):  # the first of every 99 patches starts at the top
                if np.array_equal(photograph[:32, x : x + 32], pixels):
                    columns[split] |= set(range(x, x + 32))
    assert min(map(len, columns.values())) > 60
    assert not columns["train"] & columns["test"]


def test_embedded_data_that_do_not_exist_are_looked_for_nowhere(tmp_path) -> None:
    assert is_symbolic("embedded:faces")
    with pytest.raises(ValueError, match="cannot read embedded:faces: there is no such folder"):
        open_source("embedded:faces", tmp_path)


ODD_NAMES = (
    "batch?",
    "set [v1]",
    "a*",
    "x #2",
    "a::b",
    "100%20",
    "~me",
    "file:x",
    "é ü",
    "a;b",
    "-x",
)


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("kind", ["images", "parquet", "saved"])
def test_a_path_is_a_path_whatever_its_characters_mean_elsewhere(name, kind, tmp_path) -> None:
    """A neighbour whose name a pattern would match stays outside."""
    for place, rows in ((tmp_path / name, 3), (tmp_path / "batch1", 2), (tmp_path / "aa", 2)):
        (draft := tmp_path / "draft").mkdir()
        if kind == "saved":
            datasets.DatasetDict({"train": table(rows)}).save_to_disk(str(draft))
        elif kind == "parquet":
            table(rows).to_parquet(draft / "x.parquet")
        else:
            for i in range(rows):
                png(random_image(i), draft / f"{i}.png")
        draft.rename(place)
    source = open_source(str(tmp_path / name), tmp_path / "cache")["train"]
    assert len(source) == 3
    np.testing.assert_array_equal(first_pixels(source), random_image(0))


def test_paths_in_a_table_are_relative_to_the_data_not_to_the_current_folder(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    png(random_image(1), tmp_path / "data" / "x.png")
    png(random_image(2), tmp_path / "elsewhere" / "x.png")
    datasets.Dataset.from_dict({"image": ["x.png"]}).to_parquet(tmp_path / "data" / "t.parquet")
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = open_source(str(tmp_path / "data"), tmp_path / "cache")["train"]
    np.testing.assert_array_equal(first_pixels(source), random_image(1))
