from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import pytest

from pipeline.config.loader import load_config, to_yaml
from pipeline.config.parser import flatten
from pipeline.config.schema import Config
from pipeline.core.errors import UserError

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
