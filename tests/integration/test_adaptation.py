"""A registered generator adapted to other images, and what its version says of that."""

import json
from pathlib import Path
from typing import Any

import pytest

from bngan.metrics.pretrained import file_hash
from pipeline.cli.configuration import load_config
from pipeline.core.errors import UserError
from tests.commands import DIGITS, bngan
from tests.integration.conftest import TINY, Trained, statuses

FEW = ["data.classes=[5,6,7,8,9]", "data.limit=25", "evaluate.protocol=fid100_test"]


def adapt(workspace: Path, base: str, *overrides: str) -> tuple[dict[str, Any], str]:
    place = [f"workspace={workspace}", "register.model=adapted", "train.num_workers=1"]
    done = bngan("adapt", base, DIGITS, "--json", *TINY, *FEW, *place, *overrides)
    result: dict[str, Any] = json.loads(done.stdout)
    return result, done.stderr


@pytest.mark.full
def test_gamma_and_beta_of_a_version_become_another_version(trained: Trained) -> None:
    adapting, client = trained.workspace, trained.client
    one, told = adapt(adapting, "models:/bngan-digits@champion")
    number = client.get_model_version_by_alias("bngan-digits", "champion").version
    base = f"models:/bngan-digits/{number}"
    assert f"models:/bngan-digits@champion is {base}" in told
    tags = client.get_model_version("adapted", one["model"]["version"]).tags
    assert tags["bngan.base"] == base
    trained = adapting.glob("stages/train/*/generator.safetensors")
    assert tags["bngan.base_generator"] in {file_hash(path) for path in trained}
    assert tags["bngan.differs"] == "gamma, beta, statistics"
    report = Path(one["report"]).read_text()
    assert f"Adapted from {base}; what differs from it: gamma, beta, statistics." in report

    supervised = ["adapt.method=supervised", "train.batch_size=25", "train.score_every=2000"]
    two, _ = adapt(adapting, base, *supervised)
    assert statuses(two) == "cached cached ran ran ran"
    version = client.get_model_version("adapted", two["model"]["version"])
    assert version.tags["bngan.differs"] == "gamma, beta"
    assert f"Adapted from {base}; what differs from it: gamma, beta." in version.description
    record = json.loads((Path(two["report"]).parent / "scores.json").read_text())
    assert record["extractor"]["classes"] == 10  # the base's, which knew all digits
    assert record["extractor"]["class_names"] == list("0123456789")
    assert record["data"]["classes"] == list("56789")
    again, _ = adapt(adapting, base, *supervised)
    assert statuses(again) == "cached cached cached cached cached"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("models:/bngan-digits@nobody", "there is no models:/bngan-digits@nobody"),
        ("models:/bngan-digits/99", "cannot load models:/bngan-digits/99: "),
    ],
)
def test_a_base_that_is_not_there_is_one_clear_line(
    base: str, message: str, original: Trained
) -> None:
    with pytest.raises(UserError) as caught:
        load_config(Path(DIGITS), [f"workspace={original.workspace}", f"adapt.base={base}"], print)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
