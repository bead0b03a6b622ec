"""What would stop a run, told before it begins, and files of every kind looked at."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bngan.serialization.problem import Problem
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
        (["data.path=FEW"], "data.path: 3 images in FEW, and 60 are needed"),
        (["data.path=EMPTY"], "data.path: EMPTY is empty"),
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


@pytest.mark.parametrize("address", ["", "local", "10.0.0.1:6379", "auto"])
def test_a_cluster_says_itself_what_it_lacks(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty RAY_ADDRESS, and ``local``, are no cluster: the look at this machine goes on."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(
        "pipeline.cli.preflight.execution_problem", lambda *_: Problem("compile", "")
    )
    config = load_config(DIGITS, [f"workspace={tmp_path}", "train.num_workers=9999"])
    here = ["train.num_workers", "train.compile"] if address in ("", "local") else []
    assert [problem.key for problem in obstacles(config)] == here


def test_class_folders_that_are_links_are_counted(tmp_path: Path) -> None:
    for name in "ab":
        (real := tmp_path / "elsewhere" / name).mkdir(parents=True)
        for n in range(60):
            (real / f"{n}.png").touch()
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / name).symlink_to(real)
    given = [f"data.path={tmp_path}/images", f"workspace={tmp_path}/w"]
    given += ["evaluate.protocol=fid20_test"]
    assert list(obstacles(load_config(DIGITS, given))) == []


def test_another_training_in_the_workspace_switches_no_look_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training" / "digits-0123456789abcdef").mkdir(parents=True)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    config = load_config(DIGITS, [f"workspace={tmp_path}", "train.num_workers=9999"])
    assert [problem.key for problem in obstacles(config)] == ["train.num_workers", "workspace"]


def test_a_full_disk_and_one_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(DIGITS, [f"workspace={tmp_path}/new"])
    assert list(obstacles(config)) == []
    monkeypatch.setattr("os.access", lambda *_: False)
    (problem,) = obstacles(config)
    assert problem.key == "workspace"
    assert problem.message.startswith(f"workspace: {tmp_path} cannot be written to (owner ")
    monkeypatch.setattr("os.access", lambda *_: True)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    (problem,) = obstacles(config)
    assert problem.key == "workspace"
    assert problem.message.startswith(f"workspace: 10 MB are free at {tmp_path}, and checkpoints")


def messages(given: list[str]) -> list[str]:
    """Of all that is wrong with the digits' configuration."""
    with pytest.raises(UserError) as caught:
        all_problems(DIGITS, given, print)
    assert str(caught.value) == "\n".join(problem.message for problem in caught.value.problems)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            [
                "extractor.kind=file",
                "extractor.weights=/x/workspace/num_workers/data.path/model.pt",
            ],
            "extractor.weights: there is no file /x/workspace/num_workers/data.path/model.pt",
        ),
        (["register.model=a/b"], "register.model must be a name without '/'"),
        (["data.max_skipped=2"], "data.max_skipped must lie between 0 and 1"),
    ],
)
def test_a_message_that_speaks_of_other_keys_stops_no_look_at_those(
    given: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path with "workspace" in it switched off the looks at the workspace and its disk."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "few").mkdir()
    given += [f"workspace={tmp_path}/new", "train.num_workers=9999", f"data.path={tmp_path}/few"]
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    found = messages(given)
    assert len(found) == 5
    assert any(text.startswith(line) for text in found)
    for start in (
        f"data.path: {tmp_path}/few is empty",
        "train.num_workers=9999 needs as many CPUs",
        f"workspace: {tmp_path} cannot be written to",
        f"workspace: 10 MB are free at {tmp_path}",
    ):
        assert any(text.startswith(start) for text in found), start


@pytest.mark.parametrize(
    ("key", "left_out"),
    [
        ("data.path", ["data.path"]),
        ("data.select", ["data.path"]),
        ("train.num_workers", ["train.num_workers"]),
        ("train.accelerator", ["train.num_workers"]),
        ("workspace", ["workspace", "workspace"]),
        ("model", ["workspace"]),
        ("model.generator.width", ["workspace"]),
        ("data.image_size", ["workspace"]),
        ("data.channels", ["workspace"]),
        ("train.lr", []),
        ("", []),
    ],
)
def test_a_look_at_a_wrong_value_is_left_out(
    key: str, left_out: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "few").mkdir()
    given = [f"workspace={tmp_path}/new", "train.num_workers=9999", f"data.path={tmp_path}/few"]
    config = load_config(DIGITS, given)
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    found = list(obstacles(config, [Problem(key, "what it says plays no part")]))
    gone = [problem for problem in obstacles(config) if problem not in found]
    assert [problem.key for problem in gone] == left_out
    assert len(found) + len(gone) == 4


def test_sizes_beyond_all_bounds_are_told_and_not_multiplied(tmp_path: Path) -> None:
    """The look at the disk made networks for them, which torch cannot count."""
    given = [f"workspace={tmp_path}", f"data.channels={10**30}", f"data.image_size={10**30}"]
    assert [line.split()[0] for line in messages(given)] == ["data.channels", "data.image_size"]


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


@pytest.mark.parametrize("start", ['"cron": "0 3 * * *"\n', '\ufeffcron: "0 3 * * *"\n'])
def test_a_schedule_is_one_however_its_key_is_written(start: str, tmp_path: Path) -> None:
    (file := tmp_path / "s.yaml").write_text(f"{start}name: n\nmodel: m\n", encoding="utf-8")
    assert all_problems(file, [], print) == "schedule"
