"""Pictures of classes by name or number, and what is said of them."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities.model_registry import ModelVersion
from PIL import Image

from bngan.generation.predict import predict
from bngan.generation.sampler import Sampler
from pipeline.core.errors import UserError
from pipeline.registry.registry import OpenedModel
from pipeline.serving import samples
from pipeline.serving.samples import SampleRequest
from tests.unit.serving.test_server import by_class, tiny

NAMES = ("10", "apps", "0")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Sampler:
    sampler = by_class(NAMES)
    serve(sampler, monkeypatch)
    return sampler


def serve(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(workspace: Path, uri: str) -> Iterator[OpenedModel]:
        yield OpenedModel(workspace, workspace, workspace, sampler, ModelVersion("gan", "1", 0))

    monkeypatch.setattr(samples, "open_generator", opened)


@pytest.mark.parametrize(
    ("label", "number", "told"),
    [
        ("apps", 1, ["5 images of class 1 apps of m, seed 3: "]),
        ("1", 1, ["5 images of class 1 apps of m, seed 3: "]),
        ("10", 0, ['5 images of class 0 "10" of m, seed 3: ']),
        ("2", 2, ['5 images of class 2 "0" of m, seed 3: ']),
        (
            "0",
            2,
            [
                '5 images of class 2 "0" of m, seed 3: ',
                "label 0 means class 2, whose name is 0, and not class 0, whose name is 10",
            ],
        ),
    ],
)
def test_a_class_is_chosen_by_name_or_number(
    model: Sampler, label: str, number: int, told: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "each"
    wanted = SampleRequest(5, 3, label=label, separately=True)
    assert samples.write(tmp_path, "m", wanted, output) == [told[0] + str(output), *told[1:]]
    found = [np.array(Image.open(path))[..., None] for path in sorted(output.iterdir())]
    np.testing.assert_array_equal(found, model.images(3, range(5), labels=[number] * 5))


def test_the_rows_of_classes_are_named(model: Sampler, tmp_path: Path) -> None:
    output = tmp_path / "rows.png"
    told = samples.write(tmp_path, "m", SampleRequest(4, layout="classes"), output)
    assert told == [f"12 images of m, seed 0: {output}", 'rows: 0 "10", 1 apps, 2 "0"']


def test_no_class_is_named_where_none_was_chosen(model: Sampler, tmp_path: Path) -> None:
    output = tmp_path / "grid.png"
    told = samples.write(tmp_path, "m", SampleRequest(1), output)
    assert told == [f"1 image of m, seed 0: {output}"]


def test_a_class_that_is_not_there_is_one_line(model: Sampler, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        samples.write(tmp_path, "m", SampleRequest(4, label="appz"), tmp_path / "x.png")
    assert str(caught.value) == 'm: there is no class appz: 1 apps, 0 "10", 2 "0"'


def test_a_generator_without_classes_takes_no_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(tiny(), monkeypatch)
    with pytest.raises(UserError, match="m: this generator knows no classes"):
        samples.write(tmp_path, "m", SampleRequest(4, label="apps"), tmp_path / "x.png")


@pytest.mark.parametrize("size", [(24, 40), (96, 64)])
def test_files_are_as_wide_and_high_as_the_images(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sampler, output = tiny((3, *size)), tmp_path / "one.png"
    serve(sampler, monkeypatch)
    samples.write(tmp_path, "m", SampleRequest(2, separately=True), tmp_path / "each")
    found = [Image.open(path) for path in sorted((tmp_path / "each").iterdir())]
    assert [image.size for image in found] == [size[::-1]] * 2
    np.testing.assert_array_equal([np.asarray(each) for each in found], sampler.images(0, range(2)))
    samples.write(tmp_path, "m", SampleRequest(1), output)
    assert Image.open(output).size == size[::-1]
    (encoded,) = predict(sampler, [1], {"format": "png"})
    decoded = Image.open(io.BytesIO(base64.b64decode(encoded)))
    np.testing.assert_array_equal(np.asarray(decoded), sampler.images(0, [1])[0])
