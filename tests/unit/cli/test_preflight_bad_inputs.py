"""What a person may write that makes no sense, and the one line that he is told."""

from pathlib import Path

import pytest

from pipeline.cli.preflight import all_problems
from pipeline.config.loader import load_config
from pipeline.core.errors import UserError

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "configs" / "digits.yaml"


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
        (f"data.image_size={-(2**70)}", "data.image_size must be at least 4"),
        (
            "data.image_size=[24]",
            "data.image_size must be a side in pixels or [height, width], got",
        ),
        ("data.image_size=[24,2]", "data.image_size must be at least 4 pixels, got [24, 2]"),
        ("data.image_size=[24,x]", "data.image_size must be a side in pixels or [height, width], "),
        ("data.image_size=24x40", "data.image_size must be a side in pixels or [height, width], "),
        (
            "data.image_size={}",
            "data.image_size must be a side in pixels or [height, width], got {",
        ),
        ("data.image_size=[8,256]", "data.image_size must have no side of more than 16 times the"),
        ("data.classes=[]", "data.classes must name classes, each once, got []"),
        ("data.classes=[1,1]", "data.classes must name classes, each once, got [1, 1]"),
        ("data.limit=5", "data.limit must be at least 20 images, got 5"),
        ("train.patience=0", "train.patience must be positive, got 0"),
        ("adapt.method=supervised", "adapt.method=supervised needs a base"),
        ("adapt.base=models:/x/1", "adapt.base: only bngan adapt, run, plan, check and submit"),
        ("adapt.latent_noise=-1", "adapt.latent_noise must not be negative"),
        (
            "data.group=patient",
            "data.group must be folder:LEVEL, column:NAME or name:REGEX, got patient",
        ),
        (
            "data.group=folder:1",
            "data.group does not go with splits by order, which divide groups: write "
            "data.split_by=content",
        ),
        ("data.channels=2", "data.channels must be 1, 3 or null"),
        ("data.max_skipped=-1", "data.max_skipped must lie between 0 and 1"),
        ("model.generator.depth=-3", "model.generator.depth must not be negative"),
        ("train.lr=[1", "an override has a value that is not valid YAML"),
        ("data.test=0.9", "data.test must lie between 0 and 0.5"),
        ("evaluate.protocol=fid_best", "evaluate.protocol: no protocol 'fid_best'"),
        ("register.model=a/b", "register.model must be a name"),
        ("nonsense", "'nonsense' is not an override"),
        ("--json", "'--json' is not an override"),
        ("model.generator.mapping=-1", "model.generator.mapping must not be negative"),
        ("model.generator.width=1000000000", "model.generator.width must be at most 1,048,576"),
        ("model.generator.depth=100000", "model.generator.depth must be at most 1,000"),
        ("model.latent_dim=0", "model.latent_dim must be positive"),
        ("data.image_size=100000", "data.image_size must be at most 16,384"),
        ("train.batch_size=99999999999", "train.batch_size must be at most 16,777,216"),
        ("train.lr=.inf", "train.lr must be positive"),
        ("train.beta2=-0.1", "train.beta2 must lie in [0, 1)"),
        ("train.beta1=.nan", "train.beta1 must lie in [0, 1)"),
        ("train.images=0", "train.images must be positive"),
        ("train.images=true", "train.images: Value 'True'"),
        ("train.checkpoint_every_seconds=0", "train.checkpoint_every_seconds must be positive"),
        ("train.num_workers=0", "train.num_workers must be a positive number or [min, max]"),
        ("train.num_workers=[2,1]", "train.num_workers must be a positive number or [min, max]"),
        (
            "train.num_workers=two",
            "train.num_workers must be a positive number or [min, max], got t",
        ),
        (
            "train.num_workers=1.0",
            "train.num_workers must be a positive number or [min, max], got 1",
        ),
        (
            "train.num_workers=null",
            "train.num_workers must be a positive number or [min, max], got",
        ),
        ("train.num_workers=[1,x]", "train.num_workers must be a positive number or [min, max]"),
        (
            "train.num_workers=[]",
            "train.num_workers must be a positive number or [min, max], got []",
        ),
        ("train.loss=wgan", "train.loss: Invalid value 'wgan'"),
        ("train.augment=flip", "train.augment is a list: write it as [ONE,OTHER]"),
        ("train.label_smoothing=1", "train.label_smoothing must lie in [0, 1)"),
        ("model.batch_norm.momentum=0", "model.batch_norm.momentum must lie in (0, 1]"),
        ("model.batch_norm.eps=-1", "model.batch_norm.eps must be positive"),
        ("data.path=hub", "data.path: there is no folder"),
        ("data.path=s3://bucket/images", "data.path is a URI"),
        ("data.path=hub:mnist", "data.path: write hub:OWNER/NAME or hub:OWNER/NAME@REVISION, not"),
        ("data.path=hub:a/b/c", "data.path: write hub:OWNER/NAME"),
        ("data.path=hub:a/b@", "data.path: write hub:OWNER/NAME"),
        ("data.path=hub:a/b@x/../../y", "data.path: write hub:OWNER/NAME"),
        ('data.path="hub:a/b c"', "data.path: write hub:OWNER/NAME"),
        ("data.path=hub:https://huggingface.co/datasets/a/b", "data.path is a URI"),
        ("data.max_download_gb=-1", "data.max_download_gb must not be negative, got -1"),
        ("data.max_download_gb=.inf", "data.max_download_gb must not be negative, got inf"),
        ("workspace=s3://user:secret@bucket/x", "workspace: no secrets in a URI"),
        ("workspace=s3://bucket/x", "workspace: s3://bucket/x needs an MLflow server"),
        ("extractor.kind=file", "extractor.weights must name the file of extractor.kind=file"),
        (
            f"extractor.weights={__file__}",
            "extractor.weights needs extractor.kind=inception or file",
        ),
        ("extractor.size=0", "extractor.size needs extractor.kind=file, not auto"),
        ("extractor.range=unit", "extractor.range needs extractor.kind=file, not auto"),
        ("evaluate.protocol=fid1_test", "evaluate.protocol: fid1_test: scores need at least 20"),
        ("evaluate.protocol=fid10k_train2", "evaluate.protocol: no protocol 'fid10k_train2'"),
        ("register.model=", "register.model must not be empty"),
        ("register.model=' '", "register.model must be a name"),
        ("register.model=..", "register.model must be a name"),
        ("register.draws=0", "register.draws must be positive"),
        ("name=", "name must not be empty"),
        ('name="a\\nb"', "name has characters that cannot be seen"),
        ("name=" + "x" * 300, "name must have at most 200 bytes, got 300"),
        ("name=team/digits", "name must begin with a letter or digit and consist of those"),
        ("name=../up", "name must begin with a letter or digit and consist of those"),
        ("register.model=it's", "register.model must be a name without '/', ':' and quotes"),
        ("name=${oc.env:HOME}", "name: only ${OTHER.KEY} and ${oc.env:BNGAN_NAME} are filled in"),
        ("name=${oc.env:BNGAN_${seed}}", "name: only ${OTHER.KEY}"),
        ("name=${oc.decode:x}", "name: only ${OTHER.KEY}"),
        ("name=${nowhere}", "name: Interpolation key 'nowhere' not found"),
        ("model.generator.attention=[[8]]", "model.generator.attention is a list of single values"),
        ("data.classes=[{a: 1}]", "data.classes is a list of single values"),
        ("a\u2028b", "'a\\u2028b' is not an override"),
        ("train.images=1" + "0" * 400, "train.images must be at most"),
        ("seed=-1", "seed and data.split_seed must lie in"),
    ],
)
def test_a_value_that_makes_no_sense(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(DIGITS, [override])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(message)
    assert "secret" not in line.replace("no secrets", "")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("cron: '61 * * * *'", "FILE:3: cron: '61 * * * *': "),
        ("cron: daily", "FILE:3: cron: 'daily': "),
        ("cron: '0 3 * * *'\ntimezone: Mars/Olympus", "FILE:4: timezone: there is no Mars/Olympus"),
        ("cron: '0 3 * * *'\ndrift: {level: .nan}", "FILE:4: drift.level must lie in"),
        ("cron: '0 3 30 2 *'", "FILE:3: cron: '0 3 30 2 *' is never due"),
    ],
)
def test_a_schedule_that_makes_no_sense(values: str, message: str, tmp_path: Path) -> None:
    (file := tmp_path / "s.yaml").write_text(f"name: n\nmodel: m\n{values}\n")
    with pytest.raises(UserError) as caught:
        all_problems(file, [], print)
    assert str(caught.value).startswith(message.replace("FILE", str(file)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("control: a\ntasks: [ring9]", "tasks: there is no ring9"),
        ("control: a\ncommon: [train.lr=-1]", "a on ring8: train.lr must be positive, got -1"),
        ("control: a\naxes: {train.lrr: [1]}", "a on ring8: unknown key train.lrr: did you"),
        ("control: a\nx: 1", "unknown key x"),
        ("control: a\ntasks: []", "tasks must not be empty"),
        ("control: a\naxes: {data.flip: [true]}", "FILE:5: data.flip: data sets and how they"),
        (
            "control: a\ncommon: [train.checkpoint_every=1, train.checkpoint_every_seconds=1]",
            "FILE:5: common: train.checkpoint_every_seconds and train.checkpoint_every are one s",
        ),
        ("control: a\ncommon: ['train.lr=[1']", "arms.a: it, or common, is no list of key=value"),
        ("control: a\nthresholds: {ring8: '${nope}'}", "thresholds.ring8: Interpolation key"),
    ],
)
def test_a_study_that_makes_no_sense(text: str, message: str, tmp_path: Path) -> None:
    tasks = "" if "tasks" in text else "tasks: [ring8]\n"
    (file := tmp_path / "s.yaml").write_text(f"name: n\narms: {{a: []}}\n{tasks}{text}\n")
    with pytest.raises(UserError) as caught:
        all_problems(file, [], print)
    assert message.replace("FILE", str(file)) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "model: a/b\ncron: [x]\ndrift: {level: 2, tolerance: x}\nmore: 1\n",
            ("name is", "1: model", "2: cron", "3: drift.level", "3: drift.tol", "4: unknown key more"),
        ),
        (
            "name: n\ntasks: [ring9]\narms: {a: []}\ncontrol: b\nseeds: 0\nat_once: x\n",
            ("2: tasks", "4: control", "5: seeds", "6: at_once"),
        ),
        ("arms: {a: 1}\ncontrol: b\nseeds: 0\n", ("name", "tasks", "1: arms.a", "3: seeds")),
    ],
)  # fmt: skip
def test_so_it_is_with_schedules_and_studies(
    text: str, lines: tuple[str, ...], tmp_path: Path
) -> None:
    (file := tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        all_problems(file, [], print)
    told = str(caught.value).replace(f"{file}:", "").splitlines()
    assert len(told) == len(lines), told
    for line, start in zip(told, lines, strict=True):
        assert line.startswith(start), told
