"""What would stop a run, told before it begins, and files of every kind looked at."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.cli.preflight import all_problems, obstacles
from pipeline.config.loader import load_config
from pipeline.core.errors import UserError

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "configs" / "digits.yaml"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["train.num_workers=9999"],
            "train.num_workers=9999 needs as many CPUs, but this machine has",
        ),
        (["train.accelerator=gpu", "train.num_workers=99"], "needs as many GPUs, but this machine"),
        (["data.path=FEW"], "data.path: 3 images in FEW, and 98 are needed"),
        (["data.path=EMPTY"], "data.path: there are no images in EMPTY"),
        (["workspace=FEW/0.png"], "workspace: FEW/0.png is no folder"),
        (["workspace=FEW/0.png/x"], "workspace: FEW/0.png is no folder"),
        (
            ["model.generator.width=8192", "model.generator.depth=20", "workspace=FEW"],
            "model: the networks have",
        ),
    ],
)
def test_what_would_stop_a_run_is_told_before_it_begins(
    overrides: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (few := tmp_path / "few").mkdir()
    (empty := tmp_path / "empty").mkdir()
    for n in range(3):
        (few / f"{n}.png").touch()
    given = [text.replace("FEW", str(few)).replace("EMPTY", str(empty)) for text in overrides]
    with pytest.raises(UserError) as caught:
        all_problems(DIGITS, given, print)
    (line,) = str(caught.value).splitlines()
    assert message.replace("FEW", str(few)).replace("EMPTY", str(empty)) in line


def test_class_folders_that_are_links_are_counted(tmp_path: Path) -> None:
    for name in "ab":
        (real := tmp_path / "elsewhere" / name).mkdir(parents=True)
        for n in range(60):
            (real / f"{n}.png").touch()
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / name).symlink_to(real)
    given = [f"data.path={tmp_path}/images", f"workspace={tmp_path}/w"]
    assert list(obstacles(load_config(DIGITS, given))) == []


def test_a_training_that_is_there_needs_no_other_place(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    config = load_config(DIGITS, [f"workspace={tmp_path}", "train.num_workers=9999"])
    assert list(obstacles(config)) == []


def test_a_full_disk_and_one_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(DIGITS, [f"workspace={tmp_path}/new"])
    assert list(obstacles(config)) == []
    monkeypatch.setattr("os.access", lambda *_: False)
    (problem,) = obstacles(config)
    assert problem == ("workspace", f"workspace: {tmp_path} cannot be written to", ())
    monkeypatch.setattr("os.access", lambda *_: True)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    (problem,) = obstacles(config)
    assert problem.key == "workspace"
    assert problem.message.startswith(f"workspace: 10 MB are free at {tmp_path}, and checkpoints")


def test_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(UserError, match=r"^MLflow at http://127.0.0.1:9 does not answer: "):
        all_problems(DIGITS, [f"workspace={tmp_path}"], print)
    assert list(tmp_path.iterdir()) == []


def test_what_kind_a_file_is(tmp_path: Path) -> None:
    given = [f"workspace={tmp_path}"]
    for name, kind in (("digits", "experiment"), ("studies/ring8_recipe", "study")):
        assert all_problems(ROOT / "configs" / f"{name}.yaml", given, print) == kind
    assert all_problems(ROOT / "configs/schedules/nightly.yaml", [], print) == "schedule"
    assert list(tmp_path.iterdir()) == []
