"""What kustomize builds for each overlay, and mistakes in it."""

from pathlib import Path

import pytest

from tests.infra.kubernetes import OVERLAYS, built, found_in, with_mistake
from tests.infra.tools import INFRA, ROOT, judge, plant


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_sound(overlay: str) -> None:
    assert found_in(built(overlay)) == []


def test_overlays_differ_in_what_they_are_for() -> None:
    dev, prod = map(built, OVERLAYS)
    assert ("nvidia.com/gpu" in dev, "nvidia.com/gpu" in prod) == (False, True)
    assert prod.count("nvidia.com/gpu: 1") == 4  # requests and limits of training and evaluation
    assert ("ReadWriteMany" in dev, "storageClassName: shared" in prod) == (False, True)
    assert "train.accelerator=gpu" in prod
    # Nobody's password is in what is applied: MLflow's database is a secret of its own in production.
    assert "kind: Secret" not in prod
    assert all(f"secret generic {name}" in operations() for name in ("bngan-ray", "bngan-mlflow"))


def operations() -> str:
    return (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        # Against the schemas, Kubernetes' and our own.
        ("concurrencyPolicy:", "concurencyPolicy:", "concurencyPolicy"),
        ("timeZone: Etc/UTC", "timeZone: 1", "is not of type"),
        ("readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "readOnlyRootFileSystem"),
        ("containerPort: 8080", 'containerPort: "8080"', "is not of type"),
        ("  backoffLimit: 3", "  backoffLimits: 3", "backoffLimits"),
        ("  backoffLimit: 3", '  backoffLimit: "3"', "is not of type"),
        ("submissionMode: K8sJobMode", "submissionMode: K8sJob", "is not one of"),
        ("shutdownAfterJobFinishes: true", 'shutdownAfterJobFinishes: "yes"', "is not of type"),
        ("minReplicas: 1", "minReplicas: -1", "less than the minimum"),
        ("mode: token", "mode: disabled", "'token' was expected"),
        ("  podMetricsEndpoints:", "  podMetricEndpoints:", "podMetricEndpoints"),
        ("for: 10m", "for: ten", "does not match"),
        ("policyTypes:", "policyType:", "policyType"),
        # Security.
        ("allowPrivilegeEscalation: false", "privileged: true", "may gain privileges"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "write to its root"),
        ("runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        ("runAsUser: 10001", "runAsUser: 0", "may run as root"),
        ("type: RuntimeDefault", "type: Unconfined", "no seccomp profile"),
        ("enableServiceLinks: false", "hostNetwork: true", "host's namespaces"),
        (
            "automountServiceAccountToken: false",
            "automountServiceAccountToken: true",
            "has a token",
        ),
        ("image: bngan:local", "image: bngan:latest", "image without version"),
        ("image: bngan:local", "image: bngan", "image without version"),
        ("memory: 2Gi", "ephemeral-storage: 2Gi", "has no limits"),
        ("- ALL", "- NET_RAW", "has capabilities"),
        # What is not there, or does not fit.
        ("secretName: bngan-ray", "secretName: bngan-ry", "there is no Secret bngan-ry"),
        (
            "key: auth_token\n                  name: bngan-ray",
            "key: auth_token\n                  name: x",
            "x",
        ),
        (
            "claimName: bngan-workspace",
            "claimName: workspace",
            "no PersistentVolumeClaim workspace",
        ),
        ("serviceAccountName: bngan-ray", "serviceAccountName: ray", "no ServiceAccount ray"),
        (
            "name: schedule\n              readOnly",
            "name: x\n              readOnly",
            "no volume x",
        ),
        ("concurrencyPolicy: Forbid", "concurrencyPolicy: Allow", "may overtake itself"),
        ("schedule: 0 3 * * *", "schedule: 0 3 * *", "CronJob: comes at 0 3 * *,"),
        ("timeZone: Etc/UTC", "timeZone: Europe/Berlin", "CronJob: comes at"),
        ("startingDeadlineSeconds: 21600", "suspend: false", "no startingDeadlineSeconds"),
        ("backoffLimit: 3", "backoffLimit: 0", "would not find its training"),
        ("rayVersion: 2.60.0", "rayVersion: 2.59.0", "Ray 2.59.0"),
        ("      replicas: 1\n", "      replicas: 2\n", "with 2 machines only"),
        ('num-cpus: "1"', 'num-cpus: "2"', "a machine is not one worker"),
        ("  preRunningDeadlineSeconds: 1800\n", "", "may wait for machines for ever"),
        (
            "preRunningDeadlineSeconds: 1800",
            "preRunningDeadlineSeconds: 0",
            "less than the minimum",
        ),
        ("train.num_workers=[1,2]", "train.num_workers=[1,8]", "1 to 8 workers"),
        ("workspace=/workspace/runs", "workspace=/tmp/runs", "is not shared"),
        ("name: metrics", "name: metric", "no metrics at None"),
        ("severity: critical", "severity: warning", "other groups than"),
        ("    app.kubernetes.io/name: mlflow\n---", "    name: mlflow\n---", "finds no pod"),
        ("ENABLE_JOB_EXECUTION", "ENABLE_JOBS", "mlflow runs jobs"),
    ],
)
def test_mistakes_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(found_in(with_mistake(old, new)))


def test_an_entrypoint_that_bngan_does_not_know() -> None:
    from pipeline.core.errors import UserError

    for old, new in (("train.num_workers", "train.num_worker"), ("digits.yaml", "digit.yaml")):
        with pytest.raises(UserError):
            found_in(plant(built("cpu-dev"), old, new))


@pytest.mark.parametrize("path", sorted(INFRA.rglob("*.y*ml")), ids=lambda p: p.name)
def test_yaml_is_tidy(path: Path) -> None:
    assert yaml_problems(path.read_text()) == []


def yaml_problems(text: str) -> list[str]:
    rules = "{extends: relaxed, rules: {line-length: {max: 120}, key-duplicates: enable}}"
    return judge("yamllint", "--strict", "-d", rules, "-", given=text)


def test_untidy_yaml_is_found() -> None:
    text = (INFRA / "k8s" / "base" / "mlflow.yaml").read_text()
    for old, new in (("  replicas: 1", "  replicas: 1\n  replicas: 2"), ("spec:", "spec: {")):
        assert yaml_problems(plant(text, old, new))
