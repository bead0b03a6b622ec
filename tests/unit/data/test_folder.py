"""What people have for a folder of images: used as documented, or refused with its reason."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from bngan.data import source
from bngan.data.decoding import decode
from bngan.data.sources import open_source
from tests.unit.data.test_decoding import PICTURE, PNG


def nothing(folder: Path) -> None:
    pass


def a_file(folder: Path) -> None:
    folder.rmdir()
    folder.write_bytes(PNG)


def no_folder(folder: Path) -> None:
    folder.rmdir()


def texts(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")


def hidden_images(folder: Path) -> None:
    (folder / ".a.png").write_bytes(PNG)


def only_a_test_split(folder: Path) -> None:
    (folder / "test").mkdir()
    (folder / "test" / "a.png").write_bytes(PNG)


def table(folder: Path, name: str = "train-0.parquet") -> Path:
    column = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": [PICTURE] * 20}, column)
    rows.to_parquet(folder / name)
    return folder / name


def empty_table(folder: Path) -> None:
    table(folder)
    (folder / "train-1.parquet").write_bytes(b"")


def cut_table(folder: Path) -> None:
    content = table(folder).read_bytes()
    (folder / "train-1.parquet").write_bytes(content[: len(content) // 2])


def damaged_table(folder: Path) -> None:
    content = bytearray(table(folder).read_bytes())
    content[20:220] = b"\xff" * 200
    (folder / "train-0.parquet").write_bytes(content)


def text_for_a_table(folder: Path) -> None:
    (folder / "train.parquet").write_text("these are no columns")


def numbers_for_images(folder: Path) -> None:
    datasets.Dataset.from_dict({"image": [1.5] * 20}).to_parquet(folder / "train.parquet")


def no_images_in_a_table(folder: Path) -> None:
    datasets.Dataset.from_dict({"x": [1] * 20}).to_parquet(folder / "train.parquet")


def bad_archive(folder: Path) -> None:
    (folder / "images.zip").write_bytes(b"no archive")


FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (nothing, "is empty"),
    "a file": (a_file, "it is a file"),
    "missing": (no_folder, "there is no "),
    "texts": (texts, "holds no images, only 2 .txt"),
    "hidden images": (hidden_images, "holds no images, only 1 .png"),
    "a test split alone": (only_a_test_split, "no train split, only test"),
    "an empty table": (empty_table, "train-1.parquet: Parquet file size is 0 bytes"),
    "a table that was cut": (cut_table, "train-1.parquet: Parquet magic bytes not found"),
    "a damaged table": (damaged_table, "train-0.parquet: "),
    "text for a table": (text_for_a_table, "train.parquet: "),
    "numbers for images": (numbers_for_images, "column 'image' holds no images"),
    "a table without images": (no_images_in_a_table, "has no column 'image'"),
    "an archive that is none": (bad_archive, "cannot unpack images.zip: File is not a zip file"),
}


@pytest.mark.parametrize(("make", "message"), FOLDERS.values(), ids=FOLDERS.keys())
def test_a_folder_that_cannot_be_used_has_a_reason(
    make: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the whole message is looked at)
        open_source(str(folder), tmp_path / "cache")
    assert message in str(raised.value)
    assert str(raised.value).isprintable()


def outcome(folder: Path, cache: Path) -> tuple[dict[str, str], dict[str, str]]:
    """By name, ``used`` or the reason against it; and what was ignored."""
    opened = open_source(str(folder), cache)["train"]
    found = {}
    for name, content in opened.files(np.arange(len(opened))):
        try:
            decode(content)
            found[name] = "used"
        except ValueError as error:
            found[name] = str(error)
    return found, opened.ignored


def test_each_thing_in_a_folder_is_used_or_unusable_or_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "a").mkdir(parents=True)
    for name in ("a/1.png", "a/x y\n[red].JPG", "a/<script>.png", "a/ünï.png", 'a/"q".png'):
        (folder / name).write_bytes(PNG)
    (folder / "a" / "photo.heic").write_bytes(b"a phone's")
    (folder / "a" / "broken.png").symlink_to(folder / "nowhere.png")
    (folder / "a" / "round.png").symlink_to(folder / "a" / "round.png")
    (folder / "a" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "a" / "notes.md").write_text("notes")
    (folder / "__MACOSX").mkdir()
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "a" / "folder.png").mkdir()
    (folder.joinpath("a", "folder.png", "deep.png")).write_bytes(PNG)
    with open(os.fsencode(folder / "a") + b"/\xff.png", "wb") as file:
        file.write(PNG)
    used, ignored = outcome(folder, tmp_path / "cache")
    unknown = "unreadable: no image format that is known"
    assert used == {
        **dict.fromkeys(("a/1.png", "a/x y\\n[red].JPG", "a/<script>.png", "a/ünï.png"), "used"),
        **dict.fromkeys(('a/"q".png', "a/folder.png/deep.png"), "used"),
        "a/photo.heic": unknown,
        "a/broken.png": "cannot be read: No such file or directory",
        "a/round.png": "cannot be read: Too many levels of symbolic links",
        "a/pipe.png": "cannot be read: no file",
    }
    assert ignored == {
        "__MACOSX": "hidden",
        "a/loop/": "a link to a folder that is read already",
        "a/notes.md": "no image by its name",
        "a/\udcff.png": "its name is not UTF-8",
    }


def test_a_linked_folder_is_read_once_whichever_name_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("m", "n"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x.png").write_bytes(PNG)
    (folder / "a").symlink_to(folder / "m", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.png").write_bytes(PNG)
    (folder / "z").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    opened = open_source(str(folder), tmp_path / "cache")["train"]
    assert (opened.class_names(), opened.labels()) == (["m", "n", "z"], [0, 1, 2])
    assert opened.ignored == {"a/": "a link to a folder that is read already"}


def test_what_must_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root nothing is forbidden, so the system's answers are given here."""
    folder = tmp_path / "data"
    (folder / "closed").mkdir(parents=True)
    (folder / "a.png").write_bytes(PNG)

    def refuse(*args: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(source, "open", refuse, raising=False)
    used, _ = outcome(folder, tmp_path / "cache")
    assert used == {"a.png": "cannot be read: Permission denied"}
    monkeypatch.undo()
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda p: refuse() if "closed" in str(p) else scan(p))
    with pytest.raises(ValueError, match="cannot read the folder closed/: Permission denied"):
        open_source(str(folder), tmp_path / "cache")
