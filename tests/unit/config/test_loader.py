from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from pipeline.config.loader import load_config, to_yaml
from pipeline.config.parser import flatten, read
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from tests.environment import ROOT

CONFIGS = sorted(
    (Path(__file__).parents[3] / "configs").glob("*.yaml")  # schedules and studies lie deeper
)
DIGITS = next(path for path in CONFIGS if path.name == "digits.yaml")

CONTRACT = [
    *("name", "seed", "workspace", "data.path", "data.image_size", "model.network"),
    *("train.images", "train.batch_size", "train.lr", "train.num_workers", "train.accelerator"),
    *("train.score_every", "evaluate.protocol", "register.model"),
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_configuration_is_valid(path, tmp_path) -> None:
    overrides = [f"data.path={tmp_path}"] if path.stem == "your_images" else []
    config = load_config(path, overrides)
    assert config.register.model
    assert path.stem.replace("_", "-") == config.name


def test_names_that_scripts_rely_on() -> None:
    known = flatten(asdict(load_config(DIGITS)))
    assert set(CONTRACT) <= set(known)


def test_the_resolved_configuration_reads_back(tmp_path) -> None:
    config = load_config(DIGITS, ["train.lr=3e-4", f"workspace={tmp_path}/w"])
    (tmp_path / "x.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "x.yaml") == config
    assert config.train.lr == 3e-4
    assert Path(config.workspace).is_absolute()


@pytest.mark.parametrize(
    "word",
    [
        *("1.10", "no", "010", "2024_11", "1e3", "12:30", "2024-11-30", "null", "~", "0x10", ".5"),
        *(
            "a #b",
            "a: b",
            "[v1]",
            "{a}",
            "'a'",
            '"',
            " a ",
            "on",
            "=",
            "<<",
            "!x",
            "-",
            "é",
            "a  b",
        ),
        "a long text that " + "is folded " * 20 + "when it is written",
    ],
)
def test_a_text_that_we_write_reads_back(word: str, tmp_path: Path) -> None:
    config = load_config(DIGITS)
    config.register.model = config.data.image_column = word
    (tmp_path / "x.yaml").write_text(to_yaml(config), encoding="utf-8")
    found = read(Config, tmp_path / "x.yaml")
    assert not found.wrong
    assert found.values == config
    assert yaml.safe_load(to_yaml(config))["register"]["model"] == word  # for other readers too


BLIND = [
    "model.discriminator.norm=batch",
    "model.discriminator.depth=2",
    "model.discriminator.norm_place=after_activation",
]


def test_a_discriminator_that_cannot_learn_is_refused_unless_asked_for() -> None:
    with pytest.raises(UserError, match=r"model\.discriminator cannot learn"):
        load_config(DIGITS, BLIND)
    load_config(DIGITS, [*BLIND, "model.discriminator.allow_blind=true"])


def test_networks_are_checked_though_a_number_of_the_training_is_wrong() -> None:
    with pytest.raises(UserError) as caught:
        load_config(DIGITS, ["train.lr=-1", "model.discriminator.batch_statistics=joint"])
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["model.discriminator.batch_statistics", "train.lr"]


def test_every_field_is_documented() -> None:
    """A string follows every field of the schema, in the source."""
    import ast
    import inspect

    pending, seen = [Config], set()
    while pending:
        section = pending.pop()
        seen.add(section)
        (node,) = ast.parse(inspect.getsource(section)).body
        assert isinstance(node, ast.ClassDef)
        for line, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(line, ast.AnnAssign):
                name = line.target.id  # type: ignore[union-attr]
                nested = next(f for f in fields(section) if f.name == name).default_factory
                if is_dataclass(nested):
                    pending.append(nested)  # type: ignore[arg-type]
                else:
                    assert isinstance(following, ast.Expr), f"{section.__name__}.{name}"
        pending += [base for base in section.__bases__ if is_dataclass(base)]
    assert len(seen) >= 8


@pytest.mark.parametrize(
    ("override", "splits"),
    [
        ("data.splits.Training=train", {"Training": "train"}),
        ("data.splits={1.10: train, no: test}", {"1.10": "train", "no": "test"}),
        ("data.splits={}", {}),
        ("data.splits=null", None),
    ],
)
def test_names_of_splits_are_texts(
    override: str, splits: dict[str, str] | None, tmp_path: Path
) -> None:
    (file := tmp_path / "x.yaml").write_text(
        "name: x\ndata: {path: embedded:digits}\nregister: {model: x}\n"
    )
    config = load_config(file, [override])
    assert config.data.splits == splits
    file.write_text(to_yaml(config))
    assert load_config(file).data.splits == splits


@pytest.mark.parametrize(
    ("override", "splits"),
    [
        ("data.splits={}", {}),
        ("data.splits={B: train}", {"B": "train"}),
        ("data.splits.B=test", {"A": "train", "B": "test"}),
        ("seed=1", {"A": "train"}),
    ],
)
def test_an_override_of_a_mapping_replaces_it(
    override: str, splits: dict[str, str], tmp_path: Path
) -> None:
    (file := tmp_path / "x.yaml").write_text(
        "name: x\ndata: {path: embedded:digits, splits: {A: train}}\nregister: {model: x}\n"
    )
    assert load_config(file, [override]).data.splits == splits


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.splits.x=foo", "data.splits must give train or validation or test for x, got foo"),
        ("data.splits=train", r"data.splits is a mapping: write it as \{NAME: VALUE\}"),
        ("data.splits=[a]", r"data.splits is a mapping: write it as \{NAME: VALUE\}"),
    ],
)
def test_wrong_splits_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(ROOT / "configs" / "digits.yaml", [override])


@pytest.mark.parametrize("override", ["data.image_size=#64", "data.white= # none"])
def test_a_comment_is_no_value_of_an_override(override: str) -> None:
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(ROOT / "configs" / "digits.yaml", [override])
