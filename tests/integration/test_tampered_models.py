"""A registered model whose files were touched is not used, whoever asks; nor do requests break one."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from torch import nn

from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference
from bngan.metrics.pretrained import from_file
from bngan.metrics.protocol import Protocol
from bngan.serialization.manifest import write_manifest
from pipeline.config.loader import load_config
from pipeline.core.errors import UserError
from pipeline.evaluation.scoring import downloaded_for_scoring
from pipeline.registry import registry
from pipeline.registry.base_model import opened_base
from pipeline.registry.integrity import require_trust
from pipeline.registry.logged_model import ModelPackage
from pipeline.serving import samples
from pipeline.serving import server as serving
from pipeline.serving.model_interface import model_interface
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import Tracker
from tests.environment import ROOT
from tests.unit.generation.test_sampler_safety import HARM
from tests.unit.serving.test_server import INDICES, tiny
from tests.unit.serving.test_server import PARAMETERS as VALUES

URI = "models:/gan/1"


class Registered:
    """Version 1 of a model, and where its files lie."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.parts = workspace, {}
        for name in ("generator", "reference"):
            self.parts[name] = workspace / name
            (workspace / name).mkdir()
        tiny().save(workspace / "generator")
        real = untrained_extractor((1, 8, 8))(np.zeros((20, 8, 8, 1), np.uint8))
        protocol = Protocol("fid20_test", 20, "test")
        Reference(protocol, untrained_extractor((1, 8, 8)), real, {}).save(workspace / "reference")
        self.register("gan", "a")
        (path,) = workspace.glob("artifacts/models/*/artifacts")
        self.files = path
        self.client = MlflowClient(f"sqlite:///{workspace}/mlflow.db")

    def register(self, name: str, identity: str) -> None:
        tracker = Tracker(self.workspace, "experiment")
        tags = {"bngan.fingerprint": identity}
        product = ModelPackage(
            self.parts, tags, "# a", {"fid": 1.0}, ("data", "0" * 64), model_interface()
        )
        registry.register(self.workspace, tracker.start("a", {}), name, product, print)

    def users(self) -> dict[str, Callable[[], Any]]:
        """Everything that loads a registered model."""
        storage, output = Workspace(str(self.workspace)), self.workspace / "out.png"
        base = [f"workspace={self.workspace}", f"adapt.base={URI}"]

        def entered(manager: Any) -> None:
            with manager:
                pass

        config = load_config(ROOT / "configs/digits.yaml", base[:1])
        config.adapt.base = URI
        return {
            "sample": lambda: samples.write(self.workspace, URI, samples.SampleRequest(2), output),
            "serve": lambda: serving.application(self.workspace, URI),
            "evaluate and compare": lambda: entered(downloaded_for_scoring(storage, URI)),
            "adapt": lambda: entered(opened_base(config)),
        }


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    yield Registered(tmp_path_factory.mktemp("registry"))
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.fixture
def touched(registered: Registered, tmp_path: Path) -> Iterator[Path]:
    """Its files, which are as they were in the end."""
    shutil.copytree(registered.files, tmp_path / "copy")
    yield registered.files / "artifacts"
    shutil.rmtree(registered.files)
    shutil.copytree(tmp_path / "copy", registered.files)


def refusals(registered: Registered) -> set[str]:
    told = set()
    for use in registered.users().values():
        with pytest.raises(UserError) as error:
            use()
        assert "\n" not in str(error.value)
        told.add(str(error.value))
    return told


def load(registered: Registered) -> Any:
    mlflow.set_tracking_uri(f"sqlite:///{registered.workspace}/mlflow.db")
    return mlflow.pyfunc.load_model(URI)


def test_an_untouched_model_is_used(registered: Registered) -> None:
    for use in registered.users().values():
        use()
    assert load(registered).predict({"index": np.array([0])}).shape == (1, 8, 8, 1)


@pytest.mark.parametrize("harm", ["flipped", "cut", "appended", "deleted", "replaced"])
@pytest.mark.parametrize(
    "name", ["generator/generator.safetensors", "generator/generator.json", "reference/real.npz"]
)
def test_a_touched_file_is_refused_by_name(
    registered: Registered, touched: Path, name: str, harm: str
) -> None:
    HARM[harm](touched / name)
    (told,) = refusals(registered)
    assert told.startswith(f"{URI} is not used: output ")
    assert told.endswith(f": {name}")
    if name.startswith("generator"):  # MLflow alone, without our commands
        with pytest.raises(MlflowException, match=Path(name).name):
            load(registered)


def test_a_touched_manifest_and_an_unexpected_file_are_refused(
    registered: Registered, touched: Path
) -> None:
    (touched / "generator" / "evil.py").write_text("evil")
    assert refusals(registered) == {f"{URI} is not used: unexpected file: generator/evil.py"}
    (touched / "generator" / "evil.py").unlink()
    HARM["flipped"](touched / "generator" / "manifest.json")
    assert refusals(registered) == {f"{URI} is not used: manifest altered: generator/manifest.json"}
    with pytest.raises(MlflowException, match="manifest altered"):
        load(registered)


def test_another_model_with_a_manifest_of_its_own_is_refused_by_the_registrys_tag(
    registered: Registered, touched: Path
) -> None:
    torch.manual_seed(1)
    for parameter in (other := tiny()).generator.parameters():
        nn.init.normal_(parameter)
    (touched / "generator" / "manifest.json").unlink()
    other.save(touched / "generator")
    write_manifest(touched / "generator", {})
    (told,) = refusals(registered)
    assert (
        "its parts (generator, reference) are others than the registry's bngan.files says" in told
    )


def test_a_version_without_the_tag_is_refused(registered: Registered) -> None:
    tag = registered.client.get_model_version("gan", "1").tags["bngan.files"]
    registered.client.delete_model_version_tag("gan", "1", "bngan.files")
    (told,) = refusals(registered)
    assert told.endswith("no tag bngan.files to verify it by: register it again")
    registered.client.set_model_version_tag("gan", "1", "bngan.files", tag)


def test_serve_runs_no_code_of_the_models_folder(registered: Registered, touched: Path) -> None:
    for path in list(touched.parent.rglob("*.py")):
        path.unlink()  # it may be read-only, as where it comes from
        path.write_text("raise SystemExit('evil')")
    registered.users()["serve"]()
    with pytest.raises(SystemExit, match="evil"):  # as MLflow does
        load(registered)


def test_a_network_in_a_file_is_not_loaded_before_somebody_trusts_it(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    torch.jit.trace(network, torch.zeros(3, 1, 8, 8)).save(tmp_path / "net.pt")  # type: ignore[no-untyped-call]
    extractor = from_file((1, 8, 8), tmp_path / "net.pt", None, "unit")
    registered.parts["reference"] = tmp_path / "reference"
    registered.parts["reference"].mkdir()
    real = extractor(np.zeros((20, 8, 8, 1), np.uint8))
    Reference(Protocol("fid20_test", 20, "test"), extractor, real, {}).save(tmp_path / "reference")
    registered.register("filed", "b")
    storage, uri = Workspace(str(registered.workspace)), "models:/filed/1"
    sha256 = extractor.info.sha256
    with (
        pytest.raises(UserError, match=f"set BNGAN_TRUST_EXTRACTOR={sha256}"),
        downloaded_for_scoring(storage, uri),
    ):
        pass
    monkeypatch.setenv("BNGAN_TRUST_EXTRACTOR", f"{'0' * 64},{sha256}")
    with downloaded_for_scoring(storage, uri) as model:
        path = model.reference / "extractor.json"
        info = json.loads(path.read_text())
        path.write_text(json.dumps({**info, "kind": "random"}))  # whatever it calls itself
        monkeypatch.delenv("BNGAN_TRUST_EXTRACTOR")
        with pytest.raises(UserError, match="may run any code"):
            require_trust(model.reference, uri)


def test_requests_that_nobody_sends_by_mistake_are_refused_by_mlflows_server_too(
    registered: Registered,
) -> None:
    model = load(registered)
    schema = model.metadata.get_input_schema()
    bodies: list[Any] = [{"inputs": {"index": index}} for index in INDICES]
    bodies += [{"inputs": {"index": [0]}, "params": {name: value}} for name, value in VALUES]
    bodies += [{"inputs": {"index": list(range(10_001))}}]
    answered, told = [], []
    for body in bodies:
        try:
            text = json.dumps(body)
            scoring_server.invocations(text, "application/json", model, schema)
            answered.append(text)
        except MlflowException as error:
            told.append(error.get_http_status_code())  # type: ignore[no-untyped-call]
    assert set(told) == {400}
    assert len(answered) < 10, answered  # MLflow drops what it does not know, and converts
