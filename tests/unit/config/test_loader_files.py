"""Configuration files that make no sense, and the line that says so."""

from pathlib import Path

import pytest

from pipeline.config.loader import load_config
from pipeline.core.errors import UserError

GOOD = "name: x\ndata: {path: embedded:digits}\nregister: {model: x}\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in ("ab", "bc", "cd", "de", "ef")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {lr: 1, lr: 2}", "FILE:1: not valid YAML: found duplicate key lr"),
        ("train: [", "FILE:1: not valid YAML: expected the node content, but found"),
        ("name: x\n  seed: 1", "FILE:2: not valid YAML: "),
        ("just text", "FILE is not a mapping of keys to values"),
        ("- a", "FILE is not a mapping of keys to values"),
        ("- a\n---\nb: 1", "FILE:2: not valid YAML: but found another document"),
        ("x: !!python/object:os.system {}", "FILE:1: not valid YAML: could not determine a const"),
        ("x: !mine 3", "FILE:1: not valid YAML: could not determine a constructor for the tag"),
        ("a: &a {b: *a}", "FILE:1: not valid YAML: YAML recursive aliases are not supported"),
        (BOMB, "FILE:1: not valid YAML: YAML node expansion exceeds the configured limit"),
        ("a: " + "[" * 5000 + "]" * 5000, "FILE has brackets in brackets, too deep to be read"),
        ("a: x\x00", "FILE is not valid YAML: unacceptable character #x0000"),
        ("#" * 1_000_001, "FILE is longer than a configuration can be"),
        (GOOD + "train:\n  lrr: 1", "FILE:5: unknown key train.lrr: did you mean train.lr?"),
        (GOOD + "train:\n  lr: fast", "FILE:5: train.lr: Value 'fast'"),
        (GOOD + "\ntrain: {batch_size: 1}", "FILE:5: train.batch_size must be at least 2"),
        (GOOD + "train: null", "FILE:4: train is a section"),
        (
            GOOD + "train.lr: 1",
            "FILE:4: train.lr: in a file a section is written train: {lr: VALUE}",
        ),
        (GOOD + "1: 2", "FILE:4: unknown key 1"),
        (GOOD + "train: {lr: {a: 1}}", "FILE:4: unknown key train.lr.a"),
        (GOOD.replace("name: x", ""), "name is not set: give it in FILE or as name=VALUE"),
    ],
)
def test_a_file_that_makes_no_sense(text: str, message: str, tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(file)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(message.replace("FILE", str(file)))


def test_what_is_no_text_file(tmp_path: Path) -> None:
    (latin := tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    for path, message in (
        (tmp_path / "none.yaml", "there is no configuration file"),
        (tmp_path, "cannot be read: Is a directory"),
        (latin, "is not valid YAML: byte 1[01]? is not UTF-8"),
        (Path("/dev/zero"), "is longer than a configuration can be"),
    ):
        with pytest.raises(UserError, match=message):
            load_config(path)


def test_everything_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(
        "name: x\ndata:\n  path: embedded:digits\n  channels: 2\n"
        "train:\n  lr: -1\n  lrr: 1\n  images: x\n"
    )
    with pytest.raises(UserError) as caught:
        load_config(
            file,
            ["train.beta1=1", "no"],
        )
    lines = str(caught.value).replace(f"{file}:", "").splitlines()
    assert [line.split()[0].split(":")[0] for line in lines] == [
        *("'no'", "register.model", "train.beta1", "4", "6", "7", "8")
    ]
    assert "train.images" in lines[-1]


def test_a_wrong_key_hides_no_problem_of_another(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text("name: [x]\nlr: 1\ntrain: {lr: -1}\ndata: {path: x}\n")
    with pytest.raises(UserError) as caught:
        load_config(file, ["register.model=a/b", "=5"])
    told = str(caught.value)
    for key in (
        "name: ",
        "unknown key lr",
        "train.lr must be",
        "data.path: there",
        "register.model",
    ):
        assert key in told


def test_an_empty_section_is_its_defaults(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD + "train: {}\n")
    (plain := tmp_path / "plain.yaml").write_text(GOOD)
    assert load_config(file) == load_config(plain)


def test_what_replaces_a_line_of_the_file_has_no_line_there(tmp_path: Path) -> None:
    (file := tmp_path / "x.yaml").write_text(GOOD + "seed: 1\n")
    with pytest.raises(UserError, match=r"^seed and data"):
        load_config(file, ["seed=-1"])


def test_variables_of_bngans_are_filled_in_and_other_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNGAN_DATA", "embedded:digits")
    (file := tmp_path / "x.yaml").write_text(
        GOOD.replace("embedded:digits", "'${oc.env:BNGAN_DATA}'")
    )
    config = load_config(file, ["register.model=${name}", "train.lr=${oc.env:BNGAN_RATE,0.5}"])
    assert (config.data.path, config.register.model) == ("embedded:digits", "x")
    assert config.train.lr == 0.5
