"""Mistakes in how compose's services work together, on processors and on GPUs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.parser import read
from pipeline.config.schema import Config
from tests.infra.services import command, service_wiring
from tests.infra.test_docker import COMPOSE, DOCKER, SECRETS, compose_problems
from tests.infra.tools import ROOT, Problems, plant, run

CUDA = (DOCKER / "compose.cuda.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("AWS_ENDPOINT_URL: http://s3:8333", "AWS_ENDPOINT_URL: http://s3:8334", "calls s3:8334"),
        ("AWS_ENDPOINT_URL: http://s3:", "AWS_ENDPOINT_URL: http://minio:", "calls minio:8333"),
        ("-s3.port=8333", "-s3.port=9000", "calls s3:8333"),
        ("-ip.bind=0.0.0.0", "-ip.bind=127.0.0.1", "s3 listens to itself"),
        ("-z 127.0.0.1 8333", "-z 127.0.0.1 8334", "health check of s3 asks 8334"),
        ("127.0.0.1:9333", "127.0.0.1:9334", "health check of s3 asks 9334"),
        ('JOB_EXECUTION: "false"', 'JOB_EXECUTION: "true"', "mlflow runs jobs"),
        ("s3://mlflow", "s3://artifacts", "nobody makes the bucket artifacts"),
        ('{"mlflow", "bngan"}', '{"mlflow", "gan"}', "nobody makes the bucket bngan"),
        ("@postgres:5432", "@database:5432", "mlflow calls database:5432"),
        ("@postgres:5432", "@postgres:5433", "mlflow calls postgres:5433"),
        ("psycopg2://mlflow:", "psycopg2://bngan:", "another user, password or database"),
        (":5432/mlflow", ":5432/bngan", "another user, password or database"),
        ("POSTGRES_DB: mlflow", "POSTGRES_DB: bngan", "health check of postgres"),
        ("mlflow:${POSTGRES_PASSWORD", "mlflow:${GRAFANA_PASSWORD", "another user, password"),
        ("pg_isready, -U, mlflow", "pg_isready, -U, postgres", "health check of postgres"),
        (
            "\n  AWS_SECRET_ACCESS_KEY: ${S3_SECRET",
            "\n  AWS_SECRET_ACCESS_KEY: ${S3_ACCESS",
            "buckets has another",
        ),
        (
            "MLFLOW_TRACKING_URI: http://mlflow:5000",
            "MLFLOW_TRACKING_URI: http://mlflow:5001",
            "5001",
        ),
        ("--port 5000", "--port 5001", "calls mlflow:5000"),
        ("--host 0.0.0.0", "--host 127.0.0.1", "mlflow listens to itself"),
        ("--allowed-hosts mlflow:5000", "--allowed-hosts mlflow", "does not answer ray-worker"),
        ("127.0.0.1:5000/health", "127.0.0.1:5001/health", "health check of mlflow asks 5001"),
        ("127.0.0.1:5000:5000", "127.0.0.1:5000:5001", "mlflow shows 5001 at 5000"),
        ("--address ray-head:6379", "--address head:6379", "calls head:6379"),
        ("--address ray-head:6379", "--address ray-head:6380", "calls ray-head:6380"),
        ("--block --num-cpus 0 --port 6379", "--block --num-cpus 0 --port 6380", "ray-head:6379"),
        ('--address, "127.0.0.1:6379"', '--address, "127.0.0.1:6380"', "ray-head asks 6380"),
        ("--dashboard-host 0.0.0.0", "--dashboard-host 127.0.0.1", "ray-head listens to itself"),
        ("--dashboard-port 8265", "--dashboard-port 8266", "ray-head shows 8265"),
        ("--metrics-export-port 8080", "--metrics-export-port 8081", "ray-head has no metrics"),
        ("127.0.0.1:8080/metrics", "127.0.0.1:8081/metrics", "ray-worker asks 8081"),
        (
            "postgres:/var/lib/postgresql/data",
            "postgres:/var/lib/postgresql",
            "postgres would lose",
        ),
        ("s3:/data", "s3:/store", "s3 would lose"),
        ("-dir=/data", "-dir=/tmp", "s3 would lose"),
        ("- prometheus:/prometheus", "- prometheus:/data", "prometheus would lose"),
        ("- grafana:/var/lib/grafana", "- grafana:/grafana", "grafana would lose"),
        ("- grafana:/var", "- prometheus:/var", "grafana would lose"),
        ("config.file=/etc/prometheus/", "config.file=/etc/", "has no /etc/prometheus.yml"),
        ("/rules.yml:/etc/prometheus/", "/rules.yml:/etc/", "has no /etc/prometheus/rules.yml"),
        ("/var/lib/grafana-dashboards/", "/dashboards/", "grafana has no"),
        ("provisioning:/etc/grafana/", "provisioning:/etc/", "grafana has no"),
        ("127.0.0.1:9090/-/ready", "127.0.0.1:9091/-/ready", "prometheus asks 9091"),
        ("127.0.0.1:3000/api", "127.0.0.1:3001/api", "grafana asks 3001"),
    ],
)
def test_mistakes_in_the_wiring_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(compose_problems(plant(COMPOSE, old, new), DOCKER, **SECRETS))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[ray-head, ray-worker]", "[ray-head, ray-workers]", "prometheus asks"),
        ("port: 8080", "port: 8081", "ray-worker has no metrics at 8081"),
        ("/etc/prometheus/rules.yml", "/etc/rules.yml", "prometheus has no /etc/rules.yml"),
    ],
)
def test_mistakes_in_what_prometheus_asks_are_found(old: str, new: str, told: str) -> None:
    text = (DOCKER / "prometheus.yml").read_text()
    done = run(
        "docker-compose", "-f", DOCKER / "compose.yaml", "config", "--format", "json", **SECRETS
    )
    services = json.loads(done.stdout)["services"]
    assert told in "\n".join(service_wiring(services, plant(text, old, new)))


def test_there_are_as_many_workers_as_trainings_want() -> None:
    worker = yaml.safe_load(COMPOSE)["services"]["ray-worker"]
    assert "--num-cpus 1 " in command(worker)
    workers = read(Config, ROOT / "configs" / "digits.yaml", ()).values.train.workers
    assert worker["scale"] >= workers.least


def cuda_problems(text: str, folder: Path) -> Problems:
    (path := folder / "compose.cuda.yaml").write_text(text)
    files = ("-f", DOCKER / "compose.yaml", "-f", path, "--project-directory", DOCKER)
    done = run("docker-compose", *files, "config", "--format", "json", **SECRETS)
    if done.returncode:
        return done.stderr.splitlines()
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    found = list(service_wiring(services))
    for name, service in services.items():
        ours = service["image"].startswith("bngan")
        made_of = (service["image"], service.get("build", {}).get("args"))
        if ours and made_of != ("bngan:local-cuda", {"VARIANT": "cuda"}):
            found.append(f"{name} has no CUDA")
    if (worker := services["ray-worker"])["scale"] != 1 or worker.get("gpus") != [{"count": -1}]:
        found.append("not one worker has all GPUs")
    if "--num-cpus" in command(worker):
        found.append("its worker has not all cores")
    return found


def test_gpus_are_counted_once(tmp_path: Path) -> None:
    assert cuda_problems(CUDA, tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("VARIANT: cuda", "VARIANT: cpu", "ray-head has no CUDA"),
        ("  mlflow: *cuda\n", "", "mlflow has no CUDA"),
        ("bngan:local-cuda", "bngan:local", "ray-worker has no CUDA"),
        ("    gpus: all\n", "", "not one worker has all GPUs"),
        ("    scale: 1\n", "", "not one worker has all GPUs"),
        ("--block --metrics", "--block --num-cpus 1 --metrics", "not all cores"),
        ("ray-head:6379", "head:6379", "calls head:6379"),
        ("  ray-worker:", "  ray-workers:", "not one worker has all GPUs"),
    ],
)
def test_mistakes_with_gpus_are_found(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert told in "\n".join(cuda_problems(plant(CUDA, old, new), tmp_path))
