"""The image and what compose makes of it."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.infra.services import service_wiring
from tests.infra.tools import INFRA, ROOT, Problems, judge, plant, run

DOCKER = INFRA / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = (DOCKER / "compose.yaml").read_text()
SECRETS = {
    (name := line.split("=")[0]): f"drawn-by-lot-{name}"
    for line in (DOCKER / ".env.example").read_text().splitlines()[1:]
}
ENDS = {"buckets"}
"""Services that are not to run for ever."""


def image_problems(text: str) -> Problems:
    found = judge("hadolint", "-", given=text)
    logical = text.replace("\\\n", " ")
    stages = re.split(r"(?m)^FROM ", logical)[1:]
    final = stages[-1]
    arguments = dict(re.findall(r"(?m)^ARG (\w+)=(\S+)", logical))
    if len(stages) < 2:
        found.append("one stage only")
    for stage in stages:
        base = re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], stage.split()[0])
        if not re.search(r":\d+\.\d+\.\d+\S*$|@sha256:\w{64}$", base):
            found.append(f"the base {base} is not pinned to a version")
    users = re.findall(r"(?m)^USER (\S+)", final)
    if not users or not re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1]):
        found.append(f"the image runs as {users[-1:] or 'root'}")
    if re.search(r"apt-get|pip install|uv pip|gcc|build-essential", final):
        found.append("the final stage builds")
    installs = re.findall(r"(?:uv )?pip install[^&\n]*", stages[0])
    if not all("--build-constraints constraints.txt" in i for i in installs if i.endswith(" .")):
        found.append("versions of what builds bngan are free")
    for install in installs:
        if not re.search(r"--constraint constraints\.txt|--no-deps|uv==\d", install):
            found.append(f"versions are free in: {install}")
    for source in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", logical):
        found += [f"{name} is not sent" for name in source.split() if not sent(name)]
    return found


def sent(name: str) -> bool:
    """Whether the context has it, by the patterns of .dockerignore that this project uses."""
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    return (ROOT / name).exists() and any(fnmatch(name, f"{k}*") for k in kept)


def compose_problems(text: str, folder: Path, **environment: str) -> Problems:
    """``folder`` is where the file lies: paths in it count from there."""
    command = ("docker-compose", "--project-directory", folder, "-f", "-", "config")
    done = run(*command, "--format", "json", given=text, **environment)
    if done.returncode:
        return done.stderr.strip().splitlines()
    found = [
        f"{name} may be empty"
        for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", text)
        if not rest.startswith(":?")
    ]
    services = json.loads(done.stdout)["services"]
    for name, service in services.items():
        found += [f"{name}: {problem}" for problem in service_problems(name, service)]
    return [*found, *service_wiring(services)]


def service_problems(name: str, service: dict[str, Any]) -> Iterator[str]:
    if not re.search(r":[\w.-]*\d[\w.-]*$|:local(-cuda)?$", service["image"]):
        yield f"image {service['image']} has no version"
    if service.get("privileged") or service.get("network_mode") == "host":
        yield "privileged"
    if service.get("cap_drop") != ["ALL"] or not service.get("read_only"):
        yield "not confined"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "may gain privileges"
    if "healthcheck" not in service and name not in ENDS:
        yield "no health check"
    if "restart" not in service:
        yield "not started again"
    yield from what_it_shows(service)


def what_it_shows(service: dict[str, Any]) -> Iterator[str]:
    for port in service.get("ports", []):
        if port.get("host_ip") != "127.0.0.1":
            yield f"port {port['published']} is open to the network"
    for key, value in service.get("environment", {}).items():
        secret = re.search("TOKEN|PASSWORD|SECRET|ACCESS_KEY", key)
        if secret and "drawn-by-lot" not in value:
            yield f"{key} is written down"
    for volume in service.get("volumes", []):
        if volume["type"] == "bind" and not Path(volume["source"]).exists():
            yield f"there is no {volume['source']}"


def test_the_image_is_sound() -> None:
    assert image_problems(DOCKERFILE) == []
    assert "VARIANT=cpu" in DOCKERFILE
    assert "is not sent" in " ".join(image_problems(plant(DOCKERFILE, "COPY configs", "COPY docs")))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("USER 10001:10001", "USER root", "Last USER should not be root"),
        ("USER 10001:10001", "", "runs as root"),
        ("3.11.14-slim-bookworm", "latest", "not pinned"),
        ("python -m pip uninstall", "apt-get install -y gcc && python -m pip uninstall", "builds"),
        (" --constraint constraints.txt", "", "versions are free"),
        ("uv==0.13.9", "uv", "Pin versions in pip"),
        ("WORKDIR /app", "WORKDIR app", "absolute WORKDIR"),
        ("FROM python:${PYTHON} AS final", "WORKDIR /", "one stage only"),
        ("COPY configs configs", "COPY config configs", "config is not sent"),
        (" --build-constraints constraints.txt", "", "what builds bngan are free"),
    ],
)
def test_mistakes_in_the_image_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(image_problems(plant(DOCKERFILE, old, new)))


def test_compose_is_sound() -> None:
    assert compose_problems(COMPOSE, DOCKER, **SECRETS) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("127.0.0.1:5000:5000", "5000:5000", "port 5000 is open"),
        ("127.0.0.1:8265:8265", "0.0.0.0:8265:8265", "port 8265 is open"),
        ("postgres:17.6-bookworm", "postgres:latest", "has no version"),
        ("prom/prometheus:v3.5.0", "prom/prometheus", "has no version"),
        ("${RAY_AUTH_TOKEN:?run make-env.sh}", "${RAY_AUTH_TOKEN}", "RAY_AUTH_TOKEN may be empty"),
        ("${GRAFANA_PASSWORD:?run make-env.sh}", "admin", "GF_SECURITY_ADMIN_PASSWORD is written"),
        ("  cap_drop: [ALL]", "  privileged: true", "privileged"),
        ("  read_only: true", "  read_only: false", "not confined"),
        ("healthcheck:", "healthchek:", "healthchek"),
        ("condition: service_healthy", "condition: healthy", "condition"),
        ("../monitoring/rules.yml", "../monitoring/rule.yml", "there is no"),
        ("    mlflow:\n      condition", "    mlflo:\n      condition", "mlflo"),
        ("shm_size: 2gb", "shm_size: plenty", "shm_size"),
    ],
)
def test_mistakes_in_compose_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(compose_problems(plant(COMPOSE, old, new), DOCKER, **SECRETS))


@pytest.mark.parametrize("name", SECRETS)
def test_without_a_secret_nothing_starts(name: str) -> None:
    given = {**SECRETS, name: ""}
    assert name in "\n".join(compose_problems(COMPOSE, DOCKER, **given))


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    script = DOCKER / "make-env.sh"
    (copy := tmp_path / script.name).write_text(script.read_text())
    assert judge("bash", copy) == []
    made = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert made.keys() == SECRETS.keys()
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in made.values())
    assert len(set(made.values())) == len(made)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert "there already" in judge("bash", copy)[0]
