"""Files that are not what they say they are: refused by name, before anything is made of them."""

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bngan.data.dataset import ImageSpec, ImageSplit
from bngan.generation.sampler import DESCRIPTION, WEIGHTS, Sampler
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Features
from bngan.metrics.protocol import Protocol
from bngan.networks.config import GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator
from bngan.serialization.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from bngan.serialization.manifest import NAME, damage, digest, parse_manifest, write_manifest


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_link(path: Path) -> None:
    target = path.rename(path.parents[1] / "elsewhere")
    path.symlink_to(target)


HARM: dict[str, Callable[[Path], Any]] = {
    "flipped": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "appended": lambda path: path.write_bytes(path.read_bytes() + b" x"),
    "deleted": lambda path: path.unlink(),
    "replaced": lambda path: path.write_bytes(b"another"),
    "linked": replace_by_link,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
@pytest.mark.parametrize("name", ["state.safetensors", "state.json", NAME])
def test_a_checkpoint_that_was_tampered_with_is_refused_by_name(
    tmp_path: Path, name: str, harm: Callable[[Path], Any]
) -> None:
    folder = tmp_path / "images-1"
    save_checkpoint(folder, {"weights": torch.ones(50)}, images_seen=1, healthy=True)
    harm(folder / name)
    if name == NAME and harm is replace_by_link:  # its content is what counts, and covers itself
        assert torch.equal(load_checkpoint(folder)["weights"], torch.ones(50))
        return
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(folder)
    assert str(folder if name == NAME and not (folder / name).exists() else folder / name) in str(
        error.value
    )


def test_a_file_that_nobody_recorded_is_told(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("a")
    write_manifest(tmp_path, {"note": "x", "share": (1, 2)})
    assert damage(tmp_path) is None
    (tmp_path / ".nfs0001").write_text("a file system's own, which nothing reads")
    for path in (tmp_path / "b", tmp_path / "sub" / "hid.den", tmp_path / "sub" / "link"):
        path.symlink_to("/etc/passwd") if path.name == "link" else path.write_text("b")
        assert damage(tmp_path) == f"unexpected file: {path}"
        path.unlink()


def test_every_byte_of_a_manifest_that_means_anything_is_covered(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    write_manifest(tmp_path, {"scores": {"fid": 12.5, "none": None}, 3: "x"})
    path = tmp_path / NAME
    original, content = path.read_bytes(), json.loads(path.read_bytes())
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        try:
            same = json.loads(bytes(changed)) == content
        except ValueError:
            same = False
        path.write_bytes(changed)
        assert (damage(tmp_path) is None) == same, changed


def sealed(files: Any, summary: Any = None) -> bytes:
    """A manifest whose own digest is right."""
    content = {"files": files, "summary": {} if summary is None else summary}
    return json.dumps({**content, "sha256": digest(content)}).encode()


ENTRY = {"size": 1, "sha256": "0" * 64}
NAMES = [
    "../../etc/passwd", "/etc/passwd", "a/../../b", ".", "..", "", "a//b", "a/", "./a", "a\0b", "a\nb",
    "\ud800", "\u202etxt", "x" * 256, "é" * 200,
]  # fmt: skip
FORGED = [
    *(sealed({name: ENTRY}) for name in NAMES),
    *(sealed({"a": {**ENTRY, "size": size}}) for size in (-1, 1.5, "1", None, [1], float("nan"))),
    *(sealed({"a": {**ENTRY, "sha256": value}}) for value in (None, 1, ["0"])),
    *(sealed({"a": value}) for value in (None, [], "x", {}, {**ENTRY, "more": 1})),
    *(sealed(files) for files in ([], None, "a", 3)),
    *(sealed({}, summary) for summary in ([1], "x", 3)),
    b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("content", FORGED, ids=lambda content: repr(content)[:40])
def test_a_manifest_that_bngan_would_not_write_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (it may be JSON's own)
        parse_manifest(content)
    (tmp_path / NAME).write_bytes(content)
    assert damage(tmp_path) == f"manifest altered: {tmp_path / NAME}"


def test_a_size_beyond_all_disks_is_a_wrong_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / NAME).write_bytes(sealed({"a": {**ENTRY, "size": 10**30}}))
    assert damage(tmp_path) == f"output altered: {tmp_path / 'a'}"
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(2**40)  # sparse
    assert damage(tmp_path) == f"manifest altered: {tmp_path / NAME}"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model, spec = (
        ModelConfig("dcgan", 4, True, GeneratorConfig(4)),
        ImageSpec((1, 8, 8), (0.5, 0.5)),
    )
    folder = tmp_path_factory.mktemp("generator")
    Sampler(model, spec, build_generator(model, spec).state_dict()).save(folder, images_seen=7)
    return folder


@pytest.fixture
def generator(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refused(folder: Path, *names: str) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError) as error:  # noqa: PT011 (looked at below)
        Sampler.load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    assert any(name in message for name in names or (DESCRIPTION, WEIGHTS)), message
    return message


INSANE = [
    ("model.generator.width", 10**9), ("model.generator.width", 10**30), ("model.latent_dim", 10**9),
    ("model.generator.depth", 10**9), ("model.generator.depth", -1), ("model.generator.width", 0),
    ("model.generator.width", -4), ("model.latent_dim", 0), ("model.generator.width", 4.5),
    ("model.generator.width", "4"), ("model.generator.width", None), ("model.generator.width", True),
    ("model.generator.mapping", 10**9), ("model.generator.norm", "evil"), ("model.network", ["mlp"]),
    ("model.network", "os.system"), ("model.generator", []), ("model.generator.norm", {"a": 1}),
    ("model.generator.attention", [10**9]), ("model.generator.attention", "8"),
("model.batch_norm.eps", float("nan")), ("model", None),
    ("model.conditional", 1), ("model.conditional", False), ("model.evil", 1), ("spec.evil", 1),
    ("spec.shape", [1, 10**9, 10**9]), ("spec.shape", [1, 4096, 4096]), ("spec.shape", [1, 8]),
    ("spec.shape", [1, 8, -8]), ("spec.shape", [10**6, 8, 8]), ("spec.shape", "abc"),
    ("spec.class_frequencies", [0.5] * 10), ("spec.class_frequencies", [2.0, -1.0]),
    ("spec.class_frequencies", [float("nan"), 1.0]), ("spec.class_frequencies", [1e-7] * 10**6),
    ("spec", 3), ("model.generator.width", 5), ("model.discriminator.width", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), INSANE, ids=lambda value: str(value)[:30])
def test_a_description_that_cannot_be_is_refused(generator: Path, key: str, value: Any) -> None:
    description = json.loads((generator / DESCRIPTION).read_text())
    place, *path = description, *key.split(".")
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (generator / DESCRIPTION).write_text(json.dumps(description))
    refused(generator, DESCRIPTION)


def test_a_small_file_does_not_make_a_large_network(generator: Path) -> None:
    """By many layers, none of which is larger than all of the file."""
    description = json.loads((generator / DESCRIPTION).read_text())
    description["model"] |= {"network": "mlp", "latent_dim": 4, "conditional": False}
    description["model"]["generator"] |= {"width": 20_000, "depth": 400}
    (generator / DESCRIPTION).write_text(json.dumps(description))
    save_file({f"{i}": torch.zeros(50) for i in range(400)}, generator / WEIGHTS)
    assert "larger networks" in refused(generator, DESCRIPTION)


WRONG: dict[str, Callable[[dict[str, torch.Tensor], str], Any]] = {
    "missing": lambda state, name: state.pop(name),
    "extra": lambda state, name: state.update(evil=torch.zeros(3)),
    "shape": lambda state, name: state.update({name: state[name].flatten()[:-1]}),
    "turned": lambda state, name: state.update({name: state[name].T.contiguous()}),
    "half": lambda state, name: state.update({name: state[name].half()}),
    "integers": lambda state, name: state.update({name: state[name].long()}),
    "float8": lambda state, name: state.update({name: state[name].to(torch.float8_e4m3fn)}),
    "not a number": lambda state, name: state[name].view(-1)[0].fill_(float("nan")),
    "infinite": lambda state, name: state[name].view(-1)[0].fill_(float("inf")),
}


@pytest.mark.parametrize("harm", WRONG.values(), ids=WRONG.keys())
def test_weights_that_are_of_another_network_are_refused(
    generator: Path, harm: Callable[[dict[str, torch.Tensor], str], Any]
) -> None:
    state = load_file(generator / WEIGHTS)
    (name, *_) = (name for name, value in state.items() if value.dim() > 1)
    harm(state, name)
    save_file(state, generator / WEIGHTS)
    message = refused(generator, WEIGHTS)
    assert name in message or "evil" in message


def test_what_is_pickled_is_not_read(tmp_path: Path, original: Path) -> None:
    trap = tmp_path / "trapped"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    evil = np.array([Trap()], dtype=object)
    for name in ("train_images.npy", "train_labels.npy"):
        np.save(tmp_path / name, evil, allow_pickle=True)
    (tmp_path / "dataset.json").write_text('{"classes": []}')
    with pytest.raises(ValueError, match=r"(?i)pickle|python objects"):
        ImageSplit.load(tmp_path, "train")
    np.savez(tmp_path / "real.npz", features=evil, logits=evil)
    (tmp_path / "object.npz").write_bytes((tmp_path / "train_images.npy").read_bytes())
    for name in ("real.npz", "object.npz"):
        with pytest.raises(ValueError, match=f"{name} holds no features"):
            Features.load(tmp_path / name)
    shutil.copy(original / DESCRIPTION, tmp_path)
    torch.save({"a": Trap()}, tmp_path / WEIGHTS)
    refused(tmp_path, WEIGHTS)
    assert not trap.exists()


def test_a_reference_that_was_tampered_with_is_refused_by_name(tmp_path: Path) -> None:
    extractor = untrained_extractor((1, 8, 8))
    real = extractor(np.zeros((20, 8, 8, 1), np.uint8))
    Reference(Protocol("fid20_test", 20, "test"), extractor, real, {}).save(tmp_path)
    assert len(Reference.load(tmp_path).real.features) == 20
    for name, key, value in (
        ("extractor.json", "classes", 10**9),
        ("extractor.json", "image_shape", [1, 10**9, 10**9, 3]),
        ("extractor.json", "kind", "evil"),
        ("extractor.json", "evil", 1),
        ("reference.json", "protocol", {"name": "fid9_test", "count": 9, "split": "test"}),
        ("reference.json", "protocol", ["x"]),
    ):
        content = (tmp_path / name).read_text()
        (tmp_path / name).write_text(json.dumps({**json.loads(content), key: value}))
        with pytest.raises(ValueError, match=r"extractor\.|reference\.json|real\.npz"):
            Reference.load(tmp_path)
        (tmp_path / name).write_text(content)
    os.truncate(tmp_path / "extractor.safetensors", 100)
    with pytest.raises(ValueError, match=r"extractor\.safetensors cannot be used"):
        load_extractor(tmp_path)
