"""Where problems are shown, and which of them only follow from others."""

from pathlib import Path
from typing import Any

import pytest

from bngan.serialization.problem import Problem
from pipeline.config.loader import load_config
from pipeline.config.parser import read
from pipeline.config.schema import Config
from pipeline.core.errors import UserError

GOOD = "name: x\ndata: {path: embedded:digits}\nregister: {model: x}\n"


def problems_of(file: Path, *problems: Problem) -> list[Problem]:
    with pytest.raises(UserError) as caught:
        read(Config, file).raise_if_invalid(problems)
    return caught.value.problems


def test_a_line_is_found_by_the_key_whatever_the_message(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD + "seed: 1\ntrain:\n  lr: 1\n")
    told = [
        Problem("train.lr", "seed or whatever, the learning rate is not good"),
        Problem("", "train.lr is what this begins with, and it is of no key"),
        Problem("train.beta1", "train.lr is in the file, and this key is not"),
    ]
    assert problems_of(file, *told) == [
        told[2],
        told[1],
        told[0]._replace(message=f"{file}:6: {told[0].message}"),
    ]


def test_what_follows_from_a_key_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD + "train: {lr: fast}\n")
    kept = Problem("seed", "seed is no train.lr, which train.lr is")
    own = Problem("train.lr", "the default of this is too large")
    other = Problem("train.beta1", "this is too small for it", ("train.lr",))
    unread, found = problems_of(file, own, kept, other)[::-1]
    assert unread.key == "train.lr"
    assert unread.message.startswith(f"{file}:4: train.lr: Value 'fast'")
    assert found == kept


def test_two_looks_at_one_mistake_are_one_line(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD)
    assert len(problems_of(file, Problem("seed", "no"), Problem("", "no"))) == 1


def test_of_two_seeds_the_wrong_one_is_shown(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(
        "seed: 1\nname: x\ndata:\n  path: embedded:digits\n  split_seed: -1\nregister: {model: x}\n"
    )
    with pytest.raises(UserError, match=rf"^{file}:5: seed and data\.split_seed must lie in"):
        load_config(file)


def test_what_is_no_override_hides_nothing_of_a_key(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD + "train: {lr: -1}\n")
    with pytest.raises(UserError) as caught:
        load_config(file, ["train.lr"])
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["", "train.lr"]


BOTH = "train.checkpoint_every_seconds and train.checkpoint_every are one setting: give "
NOTE = "train.checkpoint_every is now train.checkpoint_every_seconds"


@pytest.mark.parametrize(
    ("text", "overrides", "seconds", "notes"),
    [
        ("train: {checkpoint_every: 3}", [], 3.0, [NOTE]),
        ("train: {checkpoint_every_seconds: 3}", [], 3.0, []),
        ("", ["train.checkpoint_every=3"], 3.0, [NOTE]),
        ("", ["train={checkpoint_every: 3}"], 3.0, [NOTE]),
        ("train: {checkpoint_every: 4}", ["train.checkpoint_every_seconds=3"], 3.0, [NOTE]),
        ("train: {checkpoint_every_seconds: 4}", ["train.checkpoint_every=3"], 3.0, [NOTE]),
        ("train: {checkpoint_every: '${seed}'}", ["seed=3"], 3.0, [NOTE]),
        ("train: {lr: 1}", [], 5.0, []),
    ],
)
def test_a_key_is_known_by_its_earlier_name(
    text: str, overrides: list[str], seconds: float, notes: list[str], tmp_path: Path
) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD + text)
    found = read(Config, file, overrides)
    found.raise_if_invalid()
    assert found.values.train.checkpoint_every_seconds == seconds
    assert found.notes == notes
    assert not any(key.endswith("checkpoint_every") for key in found.keys)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("train: {checkpoint_every: 0}", [], "FILE:4: train.checkpoint_every_seconds must be pos"),
        ("train: {checkpoint_every: x}", [], "FILE:4: train.checkpoint_every_seconds: Value 'x'"),
        ("train: {checkpoint_every: {a: 1}}", [], "unknown key train.checkpoint_every_seconds.a"),
        ("", ["train.checkpoint_every=0"], "train.checkpoint_every_seconds must be positive"),
        (
            "train: {checkpoint_every: 0}",
            ["train.checkpoint_every_seconds=-1"],
            "train.checkpoint_every_seconds must be positive, got -1",
        ),
        (
            "train:\n  checkpoint_every: 1\n  checkpoint_every_seconds: 1",
            [],
            f"FILE:6: {BOTH}train.checkpoint_every_seconds alone",
        ),
        ("", ["train.checkpoint_every=1", "train.checkpoint_every_seconds=1"], BOTH),
        ("train.checkpoint_every: 1", [], "FILE:4: train.checkpoint_every: in a file a section is"),
    ],
)
def test_what_is_wrong_under_an_earlier_name(
    text: str, overrides: list[str], message: str, tmp_path: Path
) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD + text)
    with pytest.raises(UserError) as caught:
        load_config(file, overrides)
    (problem,) = caught.value.problems
    assert message.replace("FILE", str(file)) in problem.message


def test_a_key_is_known_by_its_second_name_without_a_note(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD)
    found = read(Config, file, ["data.validation=0.2"])
    assert (found.values.data.select, found.notes, found.wrong) == (0.2, [], {})
    with pytest.raises(UserError, match=r"^data\.select and data\.validation are one setting"):
        load_config(file, ["data.validation=0.2", "data.select=0.2"])


TEXTS = ("name", "workspace", "register.model", "data.image_column", "extractor.weights")
"""Keys of texts; null is no text for the last two."""


@pytest.mark.parametrize("key", TEXTS)
@pytest.mark.parametrize("word", ["1.10", "no", "010", "2024_11", "1e3", "12:30:45", "2024-11-30"])
def test_a_text_is_what_was_written_in_files_and_overrides(
    key: str, word: str, tmp_path: Path
) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD)
    assert _text(read(Config, file, [f"{key}={word}"]).values, key) == word
    section, _, name = key.rpartition(".")
    line = f"{section}: {{{name}: {word}}}" if section else f"{name}: {word}"
    file.write_text(line)
    assert _text(read(Config, file).values, key) == word


def _text(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


def test_an_override_may_have_any_characters_and_be_null(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD)
    found = read(
        Config,
        file,
        ["data.path=/x/set #2", "workspace=my runs: [v1] {a} %20 'b", "data.label_column=null"],
    )
    assert not found.wrong
    data = found.values.data
    assert (data.path, data.label_column) == ("/x/set #2", None)
    assert found.values.workspace == "my runs: [v1] {a} %20 'b"
    (problem,) = read(Config, file, ["name=null"]).wrong.values()
    assert problem.message == "name must not be empty"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seed: 010",
            "seed: Value '010' of type 'str' could not be converted to Integer: write it",
        ),
        ("seed: 1:30", "seed: Value '1:30' of type 'str' could not be converted to Integer: write"),
        (
            "seed: 1e3",
            "seed: Value '1000.0' of type 'float' could not be converted to Integer: wri",
        ),
        ("train: {lr: 0100}", "train.lr: Value '0100' of type 'str' could not be converted to Fl"),
        ("data: {path: x, flip: yes}", "data.flip: Value 'yes' is not a valid bool (type str): wr"),
        ("data: {path: x, flip: 1}", "data.flip: Value '1' is not a valid bool (type int): write"),
        ("data: {path: x, classes: [1, 010]}", "data.classes: Value '010' of type 'str' could"),
        ("train: {num_workers: 010}", "train.num_workers must be a positive number or [min, max]"),
        ("train: {num_workers: [1, 010]}", "train.num_workers must be a positive number or [min"),
        ("train: {norm_batch: 010}", "train.norm_batch: Value '010' of type 'str' is incompatib"),
        ("train: {micro_batch: 010}", "train.micro_batch: Value '010' of type 'str' is incompa"),
        ("train: {compile: no}", "train.compile: Invalid value 'no', expected one of"),
        ("train: {checkpoint_every: 010}", "train.checkpoint_every_seconds: Value '010' of type"),
        ("seed: '${register.model}'", "seed: Value '010' of type 'str' could not be converted to"),
        (
            "data: {path: x, flip: '${oc.env:BNGAN_ON}'}",
            "data.flip: Value 'on' is not a valid bool",
        ),
    ],
)
def test_a_number_and_a_switch_are_not_guessed(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNGAN_ON", "on")
    (file := tmp_path / "x.yaml").write_text(text)
    overrides = ["name=x", "register.model=010"] + ["data.path=x"] * ("data" not in text)
    (problem,) = read(Config, file, overrides).wrong.values()
    assert problem.message.startswith(message)
    if "{" not in text:
        key, _, value = text.partition(": ")
        file.write_text("")
        value = value.strip("'")
        (again,) = read(Config, file, [*overrides, f"{key}={value}"]).wrong.values()
        assert again == problem


def test_words_that_mean_something_else_elsewhere_are_read(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(
        GOOD
        + "train: {compile: off, images: 2_000_000, lr: 5e-4, norm_batch: 16, micro_batch: auto}"
    )
    found = read(Config, file, ["data.flip=true", "train.num_workers=[2, 8]"])
    assert not found.wrong
    train = found.values.train
    assert (train.compile, train.images, train.lr) == ("off", 2_000_000, 0.0005)
    assert (train.norm_batch, train.micro_batch, train.num_workers) == (16, "auto", [2, 8])
    assert found.values.data.flip is True


def test_an_override_without_a_key_is_named() -> None:
    digits = Path(__file__).parents[3] / "configs" / "digits.yaml"
    for override in ("[=", "[a=1", "--x=1", "name"):
        (problem,) = read(Config, digits, [override]).wrong.values()
        assert problem.message.startswith(f"'{override}' is not an override: write key=value")


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    for encoding, message in (
        ("utf-16", "x.yaml is UTF-16 text: save it as UTF-8"),
        ("latin-1", "x.yaml is not valid YAML: byte 10 is not UTF-8: save the file as UTF-8"),
    ):
        (file := tmp_path / "x.yaml").write_bytes("name: caf\xe9".encode(encoding))
        with pytest.raises(UserError, match=f"{message}$"):
            read(Config, file)
    file.write_bytes("name: caf\xe9".encode("utf-8-sig"))
    assert read(Config, file).values.name == "caf\xe9"
