"""Makers of folders for the rows of layouts.py; a docstring says what a maker makes."""

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

Make = Callable[[Path], Any]


def picture(number: int, size: int = 4) -> bytes:
    """Return the PNG of an image that no other number has."""
    levels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def make(folder: Path, tree: tuple[str | Make, ...]) -> None:
    """Write what ``tree`` says into ``folder``."""
    number = 0
    for part in tree:
        if not isinstance(part, str):
            part(folder)
            continue
        path, _, count = part.rpartition(" ")
        names = [f"{path}{i}.png" for i in range(int(count))] if count.isdecimal() else [part]
        for name in names:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            number += 1
            file.write_bytes(picture(number) if name.endswith((".png", ".PNG")) else b"text")


def metadata(text: str, name: str = "metadata.csv") -> Make:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    shown = text.strip().replace("\n", " / ")
    write.__doc__ = f"{name}: {shown}"
    return write


def table(
    name: str, count: int, labels: list[Any] | None = None, column: str = "image", **kinds: Any
) -> Make:
    def write(folder: Path) -> None:
        start = sum(map(ord, name))
        images = [{"bytes": picture(start + i), "path": None} for i in range(count)]
        columns: dict[str, Any] = {column: images}
        features: dict[str, Any] = {column: datasets.Image()}
        if labels is not None:
            columns["label"] = labels
            features["label"] = kinds.get("label") or datasets.Value("string")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rows = datasets.Dataset.from_dict(columns, datasets.Features(features))
        rows.to_parquet(folder / name)

    write.__doc__ = f"{name} with {count} images" + (f", labels {labels}" if labels else "")
    return write


def features_table(folder: Path) -> None:
    """features.parquet without images"""
    parquet.write_table(pa.table({"x": [1.0, 2.0]}), folder / "features.parquet")


def bytes_table(folder: Path) -> None:
    """x.parquet of plain bytes and pandas categories, written by another program"""
    labels = pa.array(["b", "a", "b", "a"]).dictionary_encode()
    images = pa.array([picture(i) for i in range(4)], pa.large_binary())
    parquet.write_table(pa.table({"image": images, "label": labels}), folder / "x.parquet")


def paths_table(folder: Path) -> None:
    """x.parquet whose column image has the paths a/0.png to a/3.png"""
    paths = pa.array([f"a/{i}.png" for i in range(4)])
    parquet.write_table(pa.table({"image": paths}), folder / "x.parquet")


def cut_table(folder: Path) -> None:
    """cut.parquet, which ends early"""
    (folder / "cut.parquet").write_bytes(b"PAR1 and no more")


def arrow_stream(folder: Path) -> None:
    """train.arrow, a stream with 4 images"""
    _arrow(folder / "train.arrow", pa.ipc.new_stream)


def arrow_file(folder: Path) -> None:
    """train.arrow, a file with random access, with 4 images"""
    _arrow(folder / "train.arrow", pa.ipc.new_file)


def _arrow(file: Path, writer: Any) -> None:
    rows = pa.table({"image": pa.array([picture(i) for i in range(4)])})
    with pa.OSFile(str(file), "wb") as sink, writer(sink, rows.schema) as out:
        out.write_table(rows)


def saved(folder: Path) -> None:
    """what save_to_disk wrote of the splits Train and Test, in NumPy's format"""
    images = [{"bytes": picture(i), "path": None} for i in range(4)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    columns = {"image": images, "label": ["NA", "b", "NA", "b"]}
    rows = datasets.Dataset.from_dict(columns, features).with_format("numpy")
    datasets.DatasetDict({"Train": rows, "Test": rows.select([0, 1])}).save_to_disk(folder)


def archive(name: str, *members: str) -> Make:
    def write(folder: Path) -> None:
        contents = {member: picture(i) for i, member in enumerate(members)}
        if name.endswith(".zip"):
            with zipfile.ZipFile(folder / name, "w") as packed:
                for member, content in contents.items():
                    packed.writestr(member, content)
            return
        with tarfile.open(folder / name, "w:gz") as tar:
            for member, content in contents.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

    write.__doc__ = f"{name} with {', '.join(members)}"
    return write


def linked_loop(folder: Path) -> None:
    """cat/loop, a link to the folder itself"""
    (folder / "cat" / "loop").symlink_to(folder, target_is_directory=True)


def broken_link(folder: Path) -> None:
    """cat/gone.png, a link to nothing"""
    (folder / "cat" / "gone.png").symlink_to(folder / "nowhere.png")


def two_forms(folder: Path) -> None:
    """train/é and test/é with 2 images each, é written as one character and as two"""
    for number, name in enumerate(("train/\u00e9", "train/b", "test/e\u0301")):
        (folder / name).mkdir(parents=True)
        for i in range(2):
            (folder / name / f"{i}.png").write_bytes(picture(10 * number + i))


def not_utf8(folder: Path) -> None:
    """an image whose name is not UTF-8"""
    with open(os.fsencode(folder) + b"/\xff.png", "wb") as file:
        file.write(picture(1))


def csv_rows(*rows: str, head: str = "file_name,label", name: str = "metadata.csv") -> Make:
    return metadata("\n".join([head, *rows]) + "\n", name)


def json_labels(*labels: Any) -> Make:
    rows = [{"file_name": f"x{i}.png", "label": label} for i, label in enumerate(labels)]
    return metadata("".join(json.dumps(row) + "\n" for row in rows), "metadata.jsonl")
