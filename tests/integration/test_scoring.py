"""Registered generators scored again, compared, and other tools' images in their stead."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bngan.data.images import to_pil
from bngan.generation.sampler import Sampler
from pipeline.evaluation.scoring import generated_features
from tests.commands import bngan
from tests.integration.conftest import Trained, run

MODEL = "models:/bngan-digits/1"


def scored(workspace: Path, *options: str, **environment: str) -> dict[str, Any]:
    command = ("evaluate", MODEL, "--workspace", str(workspace), "--json", *options)
    done = bngan(*command, **environment)
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.fixture(scope="module")
def workspace(original: Trained) -> Path:
    """Scoring leaves nothing there."""
    return original.workspace


@pytest.fixture(scope="module")
def recorded(workspace: Path) -> dict[str, Any]:
    """The record of the run that made the version."""
    (path,) = workspace.glob("stages/evaluate/*/scores.json")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def test_a_version_scores_what_it_scored(recorded: dict[str, Any], workspace: Path) -> None:
    again = scored(workspace)
    for name in ("protocol", "extractor", "seeds"):
        assert again[name] == recorded[name]
    for name in ("scores", "intervals"):
        # Copies are looked for where the training images are.
        ours = {
            k: v for k, v in recorded[name].items() if k not in ("authenticity", "data_copying")
        }
        assert again[name] == ours


def test_the_gap_is_of_as_many_images_and_says_how_sure_it_is(
    recorded: dict[str, Any], original: Trained
) -> None:
    found, stored = recorded["batch_norm"], list(recorded["seeds"].values())
    assert found["fid_batch_statistics"] - found["gap"] == pytest.approx(np.mean(stored))
    assert 0 < found["gap_se"] < found["fid_batch_statistics"]
    tags = original.client.get_model_version("bngan-digits", "1").tags
    for tag, name in (("bngan.batch_norm_gap", "gap"), ("bngan.batch_norm_gap_se", "gap_se")):
        assert float(tags[tag]) == pytest.approx(found[name], rel=1e-5)


def test_fewer_images_have_a_protocol_and_a_floor_of_their_own(
    recorded: dict[str, Any], workspace: Path
) -> None:
    fewer = scored(workspace, "--protocol", "fid100_test")
    assert fewer["protocol"]["count"] == fewer["floor"]["count"] == 100
    assert fewer["floor"]["fid"] > recorded["floor"]["fid"]
    refused = bngan(
        *("evaluate", MODEL, "--workspace", str(workspace), "--protocol", "fid360_test"), code=2
    )
    assert "fid360_test cannot be measured here: there are the real images of fid350_test" in (
        refused.stderr
    )


@pytest.fixture(scope="module")
def generator(workspace: Path) -> Path:
    (folder,) = workspace.glob("stages/train/*")
    return folder


def test_another_tools_images_are_scored_like_ones_own(
    recorded: dict[str, Any], generator: Path, workspace: Path, tmp_path: Path
) -> None:
    for index, image in enumerate(Sampler.load(generator).images(0, range(350))):
        to_pil(image).save(tmp_path / f"{index:03d}.png")
    theirs = scored(workspace, "--images", str(tmp_path))
    assert theirs["scores"]["fid"] == pytest.approx(recorded["scores"]["fid"], rel=1e-4)
    (tmp_path / "000.png").unlink()
    command = ("evaluate", MODEL, "--workspace", str(workspace), "--images", str(tmp_path))
    assert "349 images, and fid350_test needs 350" in bngan(*command, code=2).stderr


def test_a_version_is_as_good_as_itself(workspace: Path) -> None:
    command = ("compare", MODEL, MODEL, "--workspace", str(workspace))
    shown = bngan(*command).stdout
    assert "No difference beyond chance." in shown
    for row in ("what the gate sees", "pyramid's sliced distance", "Copies of training images"):
        assert row in shown
    found = json.loads(bngan(*command, "--json").stdout)
    assert found["protocol"] == "fid350_test"
    assert found["scores"]["fid"]["first"] == found["scores"]["fid"]["second"]
    assert {pair["verdict"] for pair in found["scores"].values()} == {"neither"}
    gate = found["gate"]
    assert gate["reason"].startswith("not better: FID ")
    assert gate["candidate"] == found["scores"]["fid"]["first"]
    assert gate["second"]["difference"] == gate["vetoes"]["coverage"]["loss"] == 0
    assert gate["vetoes"]["batch_norm_gap"]["candidate"] >= 0


@pytest.mark.full
def test_a_foreign_extractor_travels_with_the_version(tmp_path: Path) -> None:
    """Scored where the file it came from never was, and not at all by another one."""
    network, workspace = tmp_path / "network.pt", tmp_path / "runs"
    torch.jit.trace(nn.Flatten(), torch.zeros(2, 1, 8, 8)).save(str(network))
    made = run(workspace, "extractor.kind=file", f"extractor.weights={network}")
    network.unlink()
    told = bngan("evaluate", MODEL, "--workspace", str(workspace), code=2).stderr
    name, _, sha256 = told.rpartition("set ")[2].strip().partition("=")
    assert scored(workspace, **{name: sha256})["scores"]["fid"] == made["scores"]["fid"]
    (copy,) = workspace.rglob("artifacts/reference/extractor.pt")
    copy.write_bytes(copy.read_bytes() + b" ")
    for command in (("evaluate", MODEL), ("compare", MODEL, MODEL)):
        (line,) = bngan(*command, "--workspace", str(workspace), code=2).stderr.splitlines()
        assert line.startswith("error: ")
        assert line.endswith("is not used: output altered: reference/extractor.pt")


@pytest.fixture
def machines() -> Iterator[None]:
    """A Ray cluster of two machines with a core each, beside a head without."""
    import ray
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", found.address)
        yield
    ray.shutdown()
    found.shutdown()


@pytest.mark.full
def test_machines_of_a_cluster_share_the_work_and_give_the_same(
    generator: Path, workspace: Path, machines: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (extractor, *_) = workspace.glob("stages/reference/*")
    monkeypatch.setattr("pipeline.evaluation.scoring._CHUNK", 64)
    for group in (None, 24):
        shared = generated_features(generator, extractor, 0, 333, "cpu", group=group)
        with monkeypatch.context() as patch:
            patch.delenv("RAY_ADDRESS")
            alone = generated_features(generator, extractor, 0, 333, "cpu", group=group)
        np.testing.assert_allclose(shared.features, alone.features, rtol=1e-4, atol=1e-4)
        assert len(alone.features) == 333
