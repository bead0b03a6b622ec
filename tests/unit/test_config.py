from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import pytest

from pipeline.config import Config, load_config, to_yaml
from pipeline.errors import UserError
from pipeline.reading import flatten

CONFIGS = sorted(
    (Path(__file__).parents[2] / "configs").glob("*.yaml")  # schedules and studies lie deeper
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
    ("override", "message"),
    [
        ("train.lrr=1", "unknown key train.lrr: did you mean train.lr?"),
        ("lr=1", "unknown key lr: did you mean train.lr?"),
        ("zzz=1", "unknown key zzz"),
        ("train.seed=1", "unknown key train.seed: did you mean seed?"),
        ("train.images=1e5", "train.images: Value '100000.0'"),
        ("seed=99999999999999999999999", "seed and data.split_seed must lie in"),
        (
            "data.path=embedded:mnist",
            "data.path: only embedded:digits and embedded:patches are",
        ),
        ("train=3", "train is a section"),
        ("train.lr=fast", "train.lr: Value 'fast'"),
        ("train.images=1.5", "train.images: "),
        ("train.lr=-1", "train.lr must be positive"),
        ("train.lr=.nan", "train.lr must be positive"),
        ("train.beta1=1", "train.beta1 must lie in [0, 1)"),
        ("train.batch_size=1", "train.batch_size must be at least 2"),
        ("train.micro_batch=48", "train.micro_batch 48 must divide batch_size 128"),
        ("train.norm_batch=5", "train.norm_batch 5 must be at least 2 and divide 128"),
        ("train.norm_batch=local", "train.norm_batch: Value 'local'"),
        ("train.penalty_every=0", "train.penalty_every must be positive"),
        ("model.network=vit", "model.network: Invalid value 'vit'"),
        ("train.accelerator=tpu", "train.accelerator: Invalid value 'tpu'"),
        ("data.path=/does/not/exist", "data.path: there is no folder /does/not/exist"),
        ("data.image_size=2", "data.image_size must be at least 4"),
        ("data.classes=[]", "data.classes must name classes, each once, got []"),
        ("data.classes=[1,1]", "data.classes must name classes, each once, got [1, 1]"),
        ("data.limit=5", "data.limit must be at least 20 images, got 5"),
        ("train.patience=0", "train.patience must be positive, got 0"),
        ("adapt.method=supervised", "adapt.method=supervised needs a base"),
        ("adapt.base=models:/x/1", "adapt.base: only bngan adapt, run, plan, check and submit"),
        ("adapt.latent_noise=-1", "adapt.latent_noise must not be negative"),
        ("data.channels=2", "data.channels must be 1, 3 or null"),
        ("data.max_skipped=-1", "data.max_skipped must lie between 0 and 1"),
        ("model.generator.depth=-3", "model.generator.depth must not be negative"),
        ("train.lr=[1", "an override has a value that is not valid YAML"),
        ("data.test=0.9", "data.test must lie between 0 and 0.5"),
        ("evaluate.protocol=fid_best", "evaluate.protocol: no protocol 'fid_best'"),
        ("register.model=a/b", "register.model must be a name"),
        ("nonsense", "'nonsense' is not an override"),
        ("--json", "'--json' is not an override"),
    ],
)
def test_a_mistake_is_one_clear_line(override, message) -> None:
    with pytest.raises(UserError) as caught:
        load_config(DIGITS, [override])
    text = str(caught.value)
    assert text.startswith(message)
    assert "\n" not in text


BLIND = [
    "model.discriminator.norm=batch",
    "model.discriminator.depth=2",
    "model.discriminator.norm_place=after_activation",
]


def test_a_discriminator_that_cannot_learn_is_refused_unless_asked_for() -> None:
    with pytest.raises(UserError, match=r"model\.discriminator cannot learn"):
        load_config(DIGITS, BLIND)
    load_config(DIGITS, [*BLIND, "model.discriminator.allow_blind=true"])


@pytest.mark.parametrize(
    "text",
    ["train: {lr: 1, lr: 2}", "train: [", "just text", "- a", "x: !!python/object:os.system {}"],
)
def test_a_broken_file_is_one_clear_line(text, tmp_path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="there is no configuration file"):
        load_config(tmp_path / "none.yaml")


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
