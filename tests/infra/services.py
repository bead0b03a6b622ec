"""What compose's services call, keep and read: names, ports, buckets, passwords and volumes."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.infra.tools import INFRA, Document

Services = dict[str, Document]
_PORTS = {"postgres": 5432, "prometheus": 9090, "grafana": 3000, "s3": 9333}
"""Where those listen that are not told; for the store it is a port of its own."""
_KEPT = {"postgres": "/var/lib/postgresql/data", "grafana": "/var/lib/grafana"}
_LISTENS = r"(?:--port[= ]|-port[= ]|s3\.port=)(\d+)"
_EVERYWHERE = {"ray-head": "--dashboard-host", "mlflow": "--host", "s3": "-ip.bind"}
_PROMETHEUS = INFRA / "docker" / "prometheus.yml"
_GRAFANA = INFRA / "monitoring" / "grafana" / "provisioning"


def service_wiring(services: Services, scraped: str = _PROMETHEUS.read_text()) -> Iterator[str]:
    ports = {name: listening(name, service) for name, service in services.items()}
    yield from _uncalled(services, ports)
    yield from _unhealthy(services, ports)
    yield from _unkept(services)
    yield from _unread(services, scraped)
    yield from _strangers(services)
    if services["mlflow"]["environment"].get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION") != "false":
        yield "mlflow runs jobs"
    for job in yaml.safe_load(scraped)["scrape_configs"]:
        for found in job["dns_sd_configs"]:
            if set(found["names"]) != {name for name in services if name.startswith("ray-")}:
                yield f"prometheus asks {found['names']}"
            for name in found["names"]:
                if f"--metrics-export-port {found['port']}" not in command(services.get(name, {})):
                    yield f"{name} has no metrics at {found['port']}"


def command(service: Document) -> str:
    given = service.get("command") or []
    return given if isinstance(given, str) else " ".join(given)


def listening(name: str, service: Document) -> set[int]:
    told = {int(port) for port in re.findall(_LISTENS, command(service))}
    return told | ({_PORTS[name]} if name in _PORTS else set())


def _texts(service: Document) -> str:
    return " ".join([command(service), *map(str, (service.get("environment") or {}).values())])


def _uncalled(services: Services, ports: dict[str, set[int]]) -> Iterator[str]:
    """Addresses at which there is nobody, and servers that listen to themselves."""
    source = yaml.safe_load((_GRAFANA / "datasources" / "prometheus.yaml").read_text())
    texts = {name: _texts(service) for name, service in services.items()}
    texts["grafana"] += " " + " ".join(each["url"] for each in source["datasources"])
    for name, text in texts.items():
        called = re.findall(r"(?:http|postgresql)[\w+]*://(?:\S*@)?([\w.-]+):(\d+)", text)
        called += re.findall(r"--address ([\w.-]+):(\d+)", text)
        for host, port in called:
            if int(port) not in ports.get(host, ()):
                yield f"{name} calls {host}:{port}, where nobody is"
    for name, option in _EVERYWHERE.items():
        if not re.search(rf"{option}[= ]0\.0\.0\.0\b", command(services[name])):
            yield f"{name} listens to itself"
    allowed = re.findall(r"--allowed-hosts (\S+)", command(services["mlflow"]))
    for name, service in services.items():
        address = urlsplit(service.get("environment", {}).get("MLFLOW_TRACKING_URI", "")).netloc
        if address and not any(address in hosts.split(",") for hosts in allowed):
            yield f"mlflow does not answer {name}, who calls it {address}"


def _unhealthy(services: Services, ports: dict[str, set[int]]) -> Iterator[str]:
    """Health checks and published ports at which the service itself is not."""
    for name, service in services.items():
        asked = " ".join(service.get("healthcheck", {}).get("test", []))
        for port in re.findall(r"127\.0\.0\.1[: ](\d+)", asked):
            if int(port) not in ports[name]:
                yield f"the health check of {name} asks {port}"
        for port in service.get("ports", []):
            if port["target"] not in ports[name] or port["published"] != str(port["target"]):
                yield f"{name} shows {port['target']} at {port['published']}"
    asked = services["postgres"]["healthcheck"]["test"]
    given = services["postgres"]["environment"]
    if asked[1:] != ["pg_isready", "-U", given["POSTGRES_USER"], "-d", given["POSTGRES_DB"]]:
        yield f"the health check of postgres asks {asked}"


def _mounted(service: Document, kind: str) -> dict[str, str]:
    found = (volume for volume in service.get("volumes", []) if volume["type"] == kind)
    return {volume["target"]: volume["source"] for volume in found}


def _unkept(services: Services) -> Iterator[str]:
    """Data that would be gone with its container."""
    told = {
        "s3": re.findall(r"-dir=(\S+)", command(services["s3"])),
        "prometheus": re.findall(r"tsdb\.path=(\S+)", command(services["prometheus"])),
        **{name: [path] for name, path in _KEPT.items()},
    }
    for name, paths in told.items():
        if list(_mounted(services[name], "volume").items()) != [(path, name) for path in paths]:
            yield f"{name} would lose {paths}"


def _unread(services: Services, scraped: str) -> Iterator[str]:
    """Files that a server is told of, and does not have."""
    config = re.findall(r"--config\.file=(\S+)", command(services["prometheus"]))
    board = yaml.safe_load((_GRAFANA / "dashboards" / "bngan.yaml").read_text())["providers"]
    folders = [f"{each['options']['path']}/bngan.json" for each in board]
    wanted = {
        "prometheus": {
            **dict.fromkeys(config, _PROMETHEUS),
            **dict.fromkeys(yaml.safe_load(scraped)["rule_files"], INFRA / "monitoring/rules.yml"),
        },
        "grafana": {
            **dict.fromkeys(folders, INFRA / "monitoring/grafana/bngan.json"),
            "/etc/grafana/provisioning": _GRAFANA,
        },
    }
    for name, files in wanted.items():
        there = {k: Path(v).resolve() for k, v in _mounted(services[name], "bind").items()}
        for path, source in files.items():
            if there.get(path) != source.resolve():
                yield f"{name} has no {path}"


def _strangers(services: Services) -> Iterator[str]:
    """Buckets that nobody makes, and users and passwords of nobody."""
    made = set(re.findall(r'"([\w-]+)"(?=[^{}]*\} - there)', command(services["buckets"])))
    docs = (INFRA.parent / "docs" / "operations.md").read_text()
    used = re.findall(r"s3://([a-z][\w-]*)", docs + command(services["mlflow"]))
    yield from (f"nobody makes the bucket {name}" for name in sorted(set(used) - made))
    for name, service in services.items():
        given: dict[str, Any] = service.get("environment", {})
        store = services["s3"]["environment"]
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            if "AWS_ENDPOINT_URL" in given and given.get(key) != store[key]:
                yield f"{name} has another {key} than the store"
        if "ray" in name and given.get("RAY_AUTH_TOKEN") != _token(services):
            yield f"{name} has another token"
    parts = urlsplit(services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"])
    base = services["postgres"]["environment"]
    if (parts.username, parts.password, PurePosixPath(parts.path).name) != tuple(
        base[f"POSTGRES_{key}"] for key in ("USER", "PASSWORD", "DB")
    ):
        yield "mlflow has another user, password or database than postgres"


def _token(services: Services) -> str | None:
    token: str | None = services["ray-head"]["environment"].get("RAY_AUTH_TOKEN")
    return token
