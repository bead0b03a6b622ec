"""What follows from a base: networks, what is trained, and what the reference keeps of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bngan.data.dataset import ImageSpec
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.extractors import load_extractor
from bngan.metrics.pretrained import from_file
from bngan.networks.config import GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator
from pipeline.cli.configuration import load_config
from pipeline.config.schema import Config
from pipeline.config.validation import config_errors
from pipeline.core.errors import UserError
from pipeline.registry.base_model import base_files
from pipeline.storage.artifacts import BASE_GENERATOR
from pipeline.storage.workspace import Workspace
from pipeline.workflow.stage import StageContext
from pipeline.workflow.stages import reference
from tests.unit.workflow.stages.test_prepare import Silence

DIGITS = Path(__file__).parents[3] / "configs/digits.yaml"
MODEL = ModelConfig("dcgan", 6, False, GeneratorConfig(4))


def saved(folder: Path, model: ModelConfig = MODEL, classes: int = 0) -> Path:
    spec = ImageSpec((1, 8, 8), (1 / classes,) * classes if classes else ())
    folder.mkdir()
    torch.manual_seed(0)
    Sampler(model, spec, build_generator(model, spec).state_dict()).save(folder)
    return folder


def loaded(base: Path | str, *overrides: str) -> Config:
    path = Path(str(base)).parent / "x.yaml"
    keys = ("name", "data:\n  path", "register:\n  model")
    values = ("x", "embedded:digits", "x")
    path.write_text("".join(f"{k}: {v}\n" for k, v in zip(keys, values, strict=True)))
    return load_config(path, [f"adapt.base={base}", *overrides], print)


def test_networks_are_the_bases_and_the_discriminator_is_the_users(tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    config = loaded(base, "model.discriminator.width=7", "model.network=dcgan")
    assert (config.model.network, config.model.generator, config.model.latent_dim) == (
        "dcgan",
        MODEL.generator,
        6,
    )
    assert config.model.discriminator.width == 7
    assert (config.train.trainable, config.keeps_statistics) == ("affine", False)
    assert loaded(base, "train.trainable=all").train.trainable == "all"
    assert loaded(base, "adapt.method=supervised").keeps_statistics
    assert base_files(config) == [base / "generator.json", base / "generator.safetensors"]


@pytest.mark.parametrize(
    ("base", "override", "message"),
    [
        ("base", "model.generator.width=64", "model.generator.width=64, but {base} has 4: leave"),
        ("base", "model.latent_dim=64", "model.latent_dim=64, but {base} has 6: leave it out"),
        ("gone", "seed=1", "adapt.base: there is no generator.safetensors in {base}"),
        ("base", "train.micro_batch=8 adapt.method=supervised", "train.micro_batch does not go"),
        (
            "base",
            "extractor.kind=inception adapt.method=supervised",
            "adapt.feature_weight must be 0 with extractor.kind=inception",
        ),
        (
            "base",
            "train.trainable=all adapt.method=supervised",
            "train.trainable must be affine with adapt.method=supervised",
        ),
        ("normless", "seed=1", "train.trainable: affine needs norms in the generator"),
        ("alien", "seed=1", "adapt.base: {base} is no generator of bngan's: "),
        ("torn", "seed=1", "adapt.base: {base} is no generator of bngan's: "),
    ],
)
def test_what_does_not_fit_a_base_is_one_clear_line(
    base: str, override: str, message: str, tmp_path: Path
) -> None:
    saved(tmp_path / "base")
    saved(tmp_path / "normless", ModelConfig("mlp", 6, False, GeneratorConfig(4, norm="none")))
    (saved(tmp_path / "alien") / "generator.json").write_text('{"model": {"kind": "diffusion"}}')
    (saved(tmp_path / "torn") / "generator.safetensors").write_bytes(b"half a fi")
    with pytest.raises(UserError) as caught:
        loaded(tmp_path / base, *override.split())
    assert str(caught.value).startswith(message.format(base=tmp_path / base))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "base",
    ["s3://bucket/model", "models:/m/latest", "models:/m/Production", "models:/m", "models:/"],
)
def test_an_address_that_is_not_one_version_is_told(base: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(DIGITS.read_text())
    with pytest.raises(UserError, match=r"^adapt.base: write models:/NAME@ALIAS"):
        load_config(tmp_path / "x.yaml", [f"adapt.base={base}"], print)


def test_a_folders_network_that_may_run_any_code_is_not_loaded_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, network = saved(tmp_path / "base"), nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    torch.jit.trace(network, torch.zeros(3, 1, 8, 8)).save(tmp_path / "net.pt")  # type: ignore[no-untyped-call]
    extractor = from_file((1, 8, 8), tmp_path / "net.pt", None, "unit")
    extractor.save(base)
    trust = f"BNGAN_TRUST_EXTRACTOR={extractor.info.sha256}"
    with pytest.raises(UserError, match=trust):
        loaded(base)
    monkeypatch.setenv(*trust.split("="))
    assert loaded(base).adapt.base == str(base)


def test_who_submits_need_not_have_the_base(tmp_path: Path) -> None:
    config = loaded(saved(tmp_path / "base"))
    config.adapt.base = "models:/elsewhere/1"
    config.model.generator.norm = "none"  # not known here
    assert list(config_errors(config, here=False, known=False)) == []
    assert list(config_errors(config, here=False)) != []


def prepared(folder: Path, side: int = 8) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir()
    for split in ("train", "select", "test"):
        images = random.integers(0, 256, (50, side, side, 1), dtype=np.uint8)
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", random.integers(0, 2, 50))
    (folder / "dataset.json").write_text('{"classes": ["5", "6"]}')
    return folder


def referred(config: Config, data: Path, output: Path) -> Path:
    output.mkdir()
    config.evaluate.protocol = "fid40_test"
    storage = Workspace(str(output))
    context = StageContext(config, {"prepare": data}, {}, output, storage, "r", "f", Silence())
    reference.run(context)
    return output


def test_the_reference_keeps_the_base_and_its_extractor(tmp_path: Path) -> None:
    base, data = saved(tmp_path / "base"), prepared(tmp_path / "data")
    untrained_extractor((1, 8, 8), classes=7).save(base)
    kept = referred(loaded(base), data, tmp_path / "theirs")
    assert load_extractor(kept).info.classes == 7
    for name in ("generator.safetensors", "generator.json"):
        assert (kept / BASE_GENERATOR / name).read_bytes() == (base / name).read_bytes()
    own = referred(loaded(base, "extractor.kind=random"), data, tmp_path / "own")
    assert load_extractor(own).info.classes == 0


@pytest.mark.parametrize(
    ("model", "classes", "side", "message"),
    [
        (MODEL, 0, 16, "adapt.base makes images of 8x8x1, and the data's are 16x16x1: set data"),
        (ModelConfig("mlp", 6, True), 3, 8, "adapt.base knows 3 classes, and the data has 2: "),
    ],
)
def test_a_base_of_other_images_is_refused(
    model: Any, classes: int, side: int, message: str, tmp_path: Path
) -> None:
    base, data = saved(tmp_path / "base", model, classes), prepared(tmp_path / "data", side)
    with pytest.raises(UserError) as caught:
        referred(loaded(base), data, tmp_path / "out")
    assert str(caught.value).startswith(message)
