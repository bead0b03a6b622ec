"""Mistakes in who reaches whom, and in what pods call, read and write."""

import pytest

from tests.infra.kubernetes import found_in, with_mistake
from tests.infra.tools import ROOT, plant
from tests.infra.wiring import made

CLAIM = "          persistentVolumeClaim:\n            claimName: bngan-workspace\n"
RAY = 'ray.io/is-ray-node: "yes"'


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: kube-system", "name: kube-dns", "head does not reach dns at UDP 53"),
        (
            "53\n      protocol: UDP",
            "54\n      protocol: UDP",
            "mlflow does not reach dns at UDP 53",
        ),
        ("53\n      protocol: TCP", "54\n      protocol: TCP", "does not reach dns at TCP 53"),
        ("53\n      protocol: UDP", "443\n      protocol: TCP", "reaches dns at TCP 443"),
        ("    - port: 8265", "    - port: 8266", "submitter does not reach head at TCP dashboard"),
        ("name: kuberay-system", "name: ray-system", "operator does not reach head"),
        ("name: monitoring", "name: prometheus", "prometheus does not reach worker"),
        ("    - port: 8080", "    - port: 8081", "prometheus does not reach head"),
        ("    - port: 8080", "    - port: 8265", "prometheus reaches head at TCP 8265"),
        ("    - port: 5000", "    - port: 5001", "worker does not reach mlflow"),
        ('bngan/submits: "yes"\n    - name', "x: y\n    - name", "submitter does not reach head"),
        ('bngan/submits: "yes"\n    spec', "x: y\n    spec", "submitter does not reach head"),
        (
            "  egress:\n  - to:\n    - podSelector",
            "  egress:\n  - to:\n    - podselector",
            "podselector",
        ),
        (
            f"  - to:\n    - podSelector:\n        matchLabels:\n          {RAY}\n",
            "",
            "reach worker",
        ),
        (
            f"  - from:\n    - podSelector:\n        matchLabels:\n          {RAY}\n  - from",
            "  - from:\n    - namespaceSelector: {}\n  - from",
            "stranger reaches head at TCP 6379",
        ),
        (
            f"    - podSelector:\n        matchLabels:\n          {RAY}\n    ports:\n    - port: 5000",
            "    - namespaceSelector: {}\n    ports:\n    - port: 5000",
            "stranger reaches mlflow at TCP 5000",
        ),
        ("cidr: 10.0.0.0/8", "cidr: 10.0.0.0/24", "mlflow does not reach database"),
        ("    - port: 5432", "    - port: 5433", "mlflow does not reach database"),
        (
            "    - ipBlock:\n        cidr: 10.0.0.0/8",
            "    - ipBlock:\n        cidr: 0.0.0.0/0",
            "mlflow reaches internet",
        ),
        (
            "    ports:\n    - port: 8265\n      protocol: TCP\n  - from",
            "  - from",
            "head at TCP 6379",
        ),
    ],
)
def test_mistakes_in_policies_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(found_in(with_mistake(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("value: http://mlflow:5000", "value: http://mlfow:5000", "nobody is at mlfow:5000"),
        ("value: http://mlflow:5000", "value: http://mlflow:5001", "nobody is at mlflow:5001"),
        ("http://bngan-head-svc:8265", "http://bngan-head:8265", "another schedule"),
        ("allowed-hosts=mlflow:5000", "allowed-hosts=mlflow", "nobody who calls it mlflow:5000"),
        ("--port=5000", "--port=5050", "not started with --port=5000"),
        ("--host=0.0.0.0", "--host=127.0.0.1", "not started with --host=0.0.0.0"),
        ("targetPort: http", "targetPort: https", "nobody is at mlflow:5000"),
        ("    port: 5000\n    target", "    port: 80\n    target", "nobody is at mlflow:5000"),
        ('metrics-export-port: "8080"', 'metrics-export-port: "8081"', "no metrics at 8080"),
        ("dashboard-host: 0.0.0.0", "dashboard-host: 127.0.0.1", "listens at 127.0.0.1"),
        ("containerPort: 8265", "containerPort: 8266", "other ports than Ray's"),
        ("containerPort: 6379", "containerPort: 6380", "other ports than Ray's"),
        ("name: RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", "name: RAY_DISK", "nothing of its disk"),
        (
            f"    matchLabels:\n      {RAY}\n---",
            "    matchLabels:\n      x: y\n---",
            "nobody asks the worker",
        ),
        ('job_name=~"bngan-evaluate-', 'job_name=~"evaluate-', "other groups"),
        # Mounts and secrets.
        ("mountPath: /workspace", "mountPath: /work", "would lose /workspace/runs"),
        ("mountPath: /mlflow", "mountPath: /data", "would lose /mlflow/artifacts"),
        ("mountPath: /mlflow", "mountPath: /mlflow/artifacts", "would lose /mlflow/mlflow.db"),
        ("mountPath: /tmp", "mountPath: /temp", "cannot write to /tmp"),
        ("mountPath: /home/bngan", "mountPath: /root", "cannot write to /home/bngan"),
        (
            "mountPath: /schedule",
            "mountPath: /schedules",
            "has no volume at /schedule/nightly.yaml",
        ),
        (CLAIM, "          emptyDir: {}\n", "worker would lose /workspace/runs"),
        ("key: auth_token", "key: token", "there is no Secret bngan-ray with token"),
        ("key: backend-store-uri", "key: uri", "no Secret bngan-mlflow"),
        ("key: webhook", "key: url", "no Secret bngan-alarm with url"),
        ("secretName: bngan-ray", "secretName: ray", "no Secret ray with auth_token"),
    ],
)
def test_mistakes_in_what_pods_use_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(found_in(with_mistake(old, new)))


def test_the_docs_say_how_to_make_secrets() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    wanted = {"bngan-ray with auth_token", "bngan-mlflow with backend-store-uri"}
    assert made(text) == {*wanted, "bngan-alarm with webhook"}
    for old, new in (("auth_token=", "token="), ("generic bngan-ray", "generic ray")):
        assert not wanted <= made(plant(text, old, new))
