"""What pods call, read and write: Services, ports, mounts and secrets that must be there."""

import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from tests.infra.reach import RAY, labels, members, reach_problems
from tests.infra.tools import ROOT, Document

Ports = dict[str, set[int]]
_WRITTEN = ("/tmp", "/home/bngan")
_IN_THE_IMAGE = ("/app/", "/bin/")
_DISK = {"name": "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", "value": "1"}


def wiring_problems(documents: list[Document]) -> Iterator[str]:
    yield from reach_problems(documents, database="sqlite" not in _databases(documents))
    yield from _deaf(documents)
    yield from _uncalled(documents)
    yield from _unmounted(documents)


def secrets(documents: list[Document]) -> set[str]:
    """Secrets with their keys: those among the documents, and those that the docs say how to make."""
    text = (ROOT / "docs" / "operations.md").read_text()
    return made(text) | {
        f"{d['metadata']['name']} with {key}"
        for d in documents
        if d["kind"] == "Secret"
        for key in d["data"]
    }


def made(text: str) -> set[str]:
    return {
        f"{name} with {key}"
        for name, rest in re.findall(r"create secret generic ([\w-]+)(.*)", text)
        for key in re.findall(r"--from-literal=([\w-]+)=", rest)
    }


def _databases(documents: list[Document]) -> str:
    given = (d["data"] for d in documents if d["kind"] == "Secret")
    return " ".join(b64decode(value).decode() for data in given for value in data.values())


def _listening(documents: list[Document]) -> Ports:
    """Names of Services and their ports, KubeRay's own for heads included."""
    found: Ports = {}
    pods = list(members(documents))
    for role, owner, template in pods:
        if role == "head":
            name = f"{owner['metadata']['name']}-head-svc"
            found[name] = set(_ports(template).values())
    for service in (d for d in documents if d["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        there = [_ports(t) for role, _, t in pods if wanted <= labels(role, t).items()]
        found[service["metadata"]["name"]] = {
            port["port"]
            for port in service["spec"]["ports"]
            if any(port["targetPort"] in (*ports, *ports.values()) for ports in there)
        }
    return found


def _ports(template: Document) -> dict[str, int]:
    (container,) = template["spec"]["containers"]
    return {port["name"]: port["containerPort"] for port in container.get("ports", [])}


def _deaf(documents: list[Document]) -> Iterator[str]:
    """Ports that are not those where something listens."""
    for document in documents:
        spec, kind = document.get("spec", {}), document["kind"]
        cluster = spec.get("rayClusterSpec", spec)
        for group in (cluster.get("headGroupSpec"), *cluster.get("workerGroupSpecs", [])):
            if group:
                head = group is cluster["headGroupSpec"]
                yield from (f"{kind}: {text}" for text in _deaf_node(group, head))
        if kind == "Deployment":
            (container,) = spec["template"]["spec"]["containers"]
            for given in ("--host=0.0.0.0", f"--port={_ports(spec['template']).get('http')}"):
                if given not in container["args"]:
                    yield f"{container['name']} is not started with {given}"


def _deaf_node(group: Document, head: bool) -> Iterator[str]:
    given, ports = group["rayStartParams"], _ports(group["template"])
    if str(ports.get("metrics")) != given.get("metrics-export-port"):
        yield f"no metrics at {ports.get('metrics')}"
    if head and given.get("dashboard-host") != "0.0.0.0":
        yield f"the dashboard listens at {given.get('dashboard-host')}"
    if head and (ports.get("gcs-server"), ports.get("dashboard")) != (6379, 8265):
        yield f"other ports than Ray's: {ports}"
    (container,) = group["template"]["spec"]["containers"]
    if _DISK not in container["env"]:
        yield f"{container['name']} tells nothing of its disk"


def _uncalled(documents: list[Document]) -> Iterator[str]:
    """Addresses that no Service has."""
    there = _listening(documents)
    for document in documents:
        for text in _strings(document) if document["kind"] != "PrometheusRule" else ():
            for host, port in re.findall(r"https?://([\w.-]+):?(\d*)", text):
                if int(port or 80) not in there.get(host, ()):
                    yield f"{document['kind']}: nobody is at {host}:{port}"
    arguments = [t for role, _, t in members(documents) if role == "mlflow"]
    allowed = re.findall(r"--allowed-hosts=(\S+)", "\n".join(_strings(arguments)))
    for text in _strings([t for role, _, t in members(documents) if role in RAY]):
        _, http, address = text.partition("http://")
        if http and not any(address in hosts.split(",") for hosts in allowed):
            yield f"mlflow answers nobody who calls it {address}"


def _strings(tree: Any) -> Iterator[str]:
    """All texts in it, without comments."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from _strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strings(value)
    elif isinstance(tree, str):
        yield re.sub(r"(?m)^#.*$", "", tree)


def _unmounted(documents: list[Document]) -> Iterator[str]:
    """Paths that lie on no volume, or on none that outlives the pod and is the same for all."""
    claims = set()
    for role, owner, template in members(documents):
        who = f"{owner['kind']} {owner['metadata']['name']}: {role}"
        for path in _WRITTEN:
            if "emptyDir" not in _volume(template, path):
                yield f"{who} cannot write to {path}"
        for path in _kept(role, owner, documents):
            claim = _volume(template, path).get("persistentVolumeClaim", {}).get("claimName")
            claims |= {claim} if role in RAY else set()
            if not claim:
                yield f"{who} would lose {path}"
        yield from (f"{who} has no volume at {path}" for path in _named(template))
    if len(claims) > 1:
        yield f"Ray's nodes have not one workspace: {claims}"


def _named(template: Document) -> Iterator[str]:
    """Paths in a command that are neither in the image nor on a volume."""
    (container,) = template["spec"]["containers"]
    for text in _strings([container.get("command", []), container.get("args", [])]):
        for path in re.findall(r"(?<![\w/.:])/[\w.-]+(?:/[\w.-]+)+", text):
            if not path.startswith(_IN_THE_IMAGE) and not _volume(template, path):
                yield path


def _kept(role: str, owner: Document, documents: list[Document]) -> list[str]:
    """Paths of what must outlive a pod."""
    if role == "mlflow":
        return re.findall(
            r"(?:sqlite:///|--artifacts-destination=)(/\S+)",
            " ".join([*_strings(owner), _databases(documents)]),
        )
    if role not in RAY:
        return []
    if owner["kind"] == "RayJob":
        return re.findall(r"workspace=(\S+)", owner["spec"]["entrypoint"])
    (files,) = (d["data"] for d in documents if d["kind"] == "ConfigMap")
    return [yaml.safe_load(text)["workspace"] for text in files.values()]


def _volume(template: Document, path: str) -> Document:
    """The one that a path of its container lies on; none if it is mounted read-only to be written."""
    (container,) = template["spec"]["containers"]
    here = [PurePosixPath(path), *PurePosixPath(path).parents]
    for mount in container.get("volumeMounts", []):
        if PurePosixPath(mount["mountPath"]) in here:
            volumes = template["spec"]["volumes"]
            found: Document = next((v for v in volumes if v["name"] == mount["name"]), {})
            return found
    return {}
