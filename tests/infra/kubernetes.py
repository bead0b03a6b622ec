"""What is wrong with what kustomize builds, in words."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from pipeline.config.parser import read
from pipeline.config.schema import Config
from pipeline.config.validation import config_errors
from pipeline.monitoring.schedule import load_schedule
from tests.infra.reach import RAY, labels, members
from tests.infra.tools import INFRA, ROOT, Document, Problems, pins, plant, run
from tests.infra.wiring import secrets, wiring_problems

_OWN: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "schemas.yaml").read_text())


OVERLAYS = ["cpu-dev", "gpu-prod"]


@cache
def built(overlay: str) -> str:
    done = run("kubectl", "kustomize", INFRA / "k8s" / "overlays" / overlay)
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_mistake(old: str, new: str) -> str:
    """What is built, with a mistake: of the first overlay that has the place for it."""
    overlay = next((each for each in OVERLAYS if old in built(each)), OVERLAYS[0])
    return plant(built(overlay), old, new)


def found_in(text: str, rules: Path = INFRA / "monitoring" / "rules.yml") -> Problems:
    documents: list[Document] = list(yaml.load_all(text, yaml.CSafeLoader))
    found = []
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        found += [f"{name}: {problem}" for problem in _against_schema(document)]
    if found:  # what else is said takes for granted that fields are where they should be
        return found
    for kind, pod in pods(documents):
        found += [f"{kind}: {problem}" for problem in _insecure(pod)]
    found += [*_dangling(documents), *_unlike(documents, rules)]
    return found or list(wiring_problems(documents))


def _against_schema(document: Document) -> Iterator[str]:
    kind = document["kind"]
    if kind in _OWN:
        schema = {**_OWN[kind], "$defs": _OWN["$defs"]}
        for error in Draft202012Validator(schema).iter_errors(document["spec"]):
            yield f"{error.json_path}: {error.message}"
        metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
        yield from _native(metadata)
        for template in _templates(document.get("spec")):
            given = {"metadata": {"name": "pod", **template.get("metadata", {})}}
            yield from _native(
                {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], **given}
            )
    else:
        yield from _native(document)


def _native(document: Document) -> Problems:
    return _validated(json.dumps(document, sort_keys=True))


@cache
def _validated(text: str) -> Problems:
    version = kubernetes_validate.latest_version()
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    return []


def _templates(tree: Any) -> Iterator[Document]:
    """Every pod template, wherever it is."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("template", "submitterPodTemplate") and "containers" in value["spec"]:
                yield value
            else:
                yield from _templates(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _templates(value)


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    for document in documents:
        for template in _templates(document.get("spec")):
            yield f"{document['kind']} {document['metadata']['name']}", template


def _insecure(template: Document) -> Iterator[str]:
    spec = template["spec"]
    context = spec.get("securityContext", {})
    if not context.get("runAsNonRoot") or context.get("runAsUser", 0) < 1000:
        yield "may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    if spec.get("automountServiceAccountToken") is not False:
        yield "has a token for Kubernetes"
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "is in the host's namespaces"
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"mounts the host's {volume['hostPath']['path']}"
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        yield from (f"{container['name']} {text}" for text in _insecure_container(container))


def _insecure_container(container: Document) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("privileged") or context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "has capabilities"
    if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        yield "runs as root"
    for part in ("requests", "limits"):
        if not {"cpu", "memory"} <= container.get("resources", {}).get(part, {}).keys():
            yield f"has no {part}"
    if not re.search(r":(?!latest)[\w.-]+$|@sha256:", container["image"]):
        yield f"has an image without version: {container['image']}"
    for variable in container.get("env", []):
        if re.search("TOKEN|PASSWORD|SECRET|KEY", variable["name"]) and "value" in variable:
            yield f"has {variable['name']} written down"


def _dangling(documents: list[Document]) -> Iterator[str]:
    """What is referred to, and is not there."""
    there = {(d["kind"], d["metadata"]["name"]) for d in documents}
    there |= {("Secret", name) for name in secrets(documents)}
    for kind, template in pods(documents):
        for what, name in sorted(set(_wanted(template["spec"])) - there):
            yield f"{kind}: there is no {what} {name}"
    for document in documents:
        spec = document.get("spec", {})
        options = spec.get("rayClusterSpec", spec).get("authOptions")
        if options and (wanted := f"{options['secretName']} with auth_token") not in secrets([]):
            yield f"{document['kind']}: there is no Secret {wanted}"


def _wanted(spec: Document) -> Iterator[tuple[str, str]]:
    """Kinds and names of what a pod refers to; volumes that it mounts and has not."""
    yield "ServiceAccount", spec.get("serviceAccountName", "default")
    for volume in spec.get("volumes", []):
        if claim := volume.get("persistentVolumeClaim"):
            yield "PersistentVolumeClaim", claim["claimName"]
        if config := volume.get("configMap"):
            yield "ConfigMap", config["name"]
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in spec["containers"]:
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        yield from (("volume", name) for name in mounts - volumes)
        for variable in container.get("env", []):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", f"{key['name']} with {key['key']}"


def _unlike(documents: list[Document], rules: Path) -> Iterator[str]:
    """What does not fit together, with each other and with the rest of the project."""
    by = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    yield from _training(by["RayJob", "bngan-train"])
    yield from _evaluation(documents)
    denied = by["NetworkPolicy", "deny-all"]["spec"]
    if denied["podSelector"] or set(denied["policyTypes"]) != {"Ingress", "Egress"}:
        yield "NetworkPolicy deny-all does not deny all"
    selector = by["Service", "mlflow"]["spec"]["selector"].items()
    labels = by["Deployment", "mlflow"]["spec"]["template"]["metadata"]["labels"].items()
    if not selector <= labels:
        yield "Service mlflow finds no pod"
    (server,) = by["Deployment", "mlflow"]["spec"]["template"]["spec"]["containers"]
    if {"name": "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "value": "false"} not in server["env"]:
        yield "mlflow runs jobs"
    if monitor := by.get(("PodMonitor", "bngan-ray")):
        yield from _monitoring(documents, monitor, by["PrometheusRule", "bngan"], rules)


def _monitoring(
    documents: list[Document], monitor: Document, alerts: Document, rules: Path
) -> Iterator[str]:
    if alerts["spec"]["groups"] != yaml.safe_load(rules.read_text())["groups"]:
        yield "PrometheusRule bngan: other groups than infra/monitoring/rules.yml"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    for role, owner, template in members(documents):
        (container,) = template["spec"]["containers"]
        ports = {port["name"] for port in container.get("ports", [])}
        if role in RAY and not (wanted <= labels(role, template).items()):
            yield f"{owner['kind']}: nobody asks the {role} for metrics"
        if role in RAY and endpoint["port"] not in ports:
            yield f"{owner['kind']}: {container['name']} has no port {endpoint['port']}"
        if owner["kind"] == "CronJob":
            name = f'job_name=~"{owner["metadata"]["name"]}-.+"'
            if name not in str(alerts["spec"]):
                yield f"CronJob: nobody is told when it fails: {name}"


def _training(job: Document) -> Iterator[str]:
    spec = job["spec"]
    cluster, (program, command, path, *overrides) = (
        spec["rayClusterSpec"],
        shlex.split(spec["entrypoint"]),
    )
    if "name" not in job["metadata"] or not spec["backoffLimit"]:
        yield "RayJob: a retry would not find its training, or there is none"
    if not spec["shutdownAfterJobFinishes"]:
        yield "RayJob: its cluster stays for ever"
    if cluster["rayVersion"] != pins()["ray"]:
        yield f"RayJob: Ray {cluster['rayVersion']}, but constraints.txt has {pins()['ray']}"
    if (program, command) != ("bngan", "run"):
        yield f"RayJob: the entrypoint is {program} {command}"
    given = read(Config, ROOT / path.removeprefix("/app/"), overrides)
    given.raise_if_invalid()
    config = given.values
    yield from (f"RayJob: {found.message}" for found in config_errors(config, here=False))
    if not config.workspace.startswith("/workspace/"):
        yield f"RayJob: the workspace {config.workspace} is not shared"
    least, most = config.train.workers
    (group,) = cluster["workerGroupSpecs"]
    if (least, most) != (group["minReplicas"], group["maxReplicas"]) or least == most:
        yield f"RayJob: {least} to {most} workers on other machines than there are"
    if group["replicas"] != group["minReplicas"]:
        yield f"RayJob: it begins, and is retried, with {group['replicas']} machines only"
    if group["rayStartParams"].get("num-cpus") != "1":
        yield "RayJob: a machine is not one worker"
    if "preRunningDeadlineSeconds" not in spec:
        yield "RayJob: may wait for machines for ever"


def _evaluation(documents: list[Document]) -> Iterator[str]:
    (job,) = (d["spec"] for d in documents if d["kind"] == "CronJob")
    (data,) = (d["data"] for d in documents if d["kind"] == "ConfigMap")
    clusters = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "RayCluster"}
    schedule = load_schedule(INFRA / "k8s" / "base" / "nightly.yaml")
    if (INFRA / "k8s" / "base" / "nightly.yaml").read_text() not in data.values():
        yield "CronJob: mounts another schedule"
    if (job["schedule"], job.get("timeZone")) != (schedule.cron, "Etc/UTC"):
        yield f"CronJob: comes at {job['schedule']}, but the schedule is due at {schedule.cron} UTC"
    if job.get("concurrencyPolicy") != "Forbid":
        yield "CronJob: may overtake itself"
    for key in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if key not in job:
            yield f"CronJob: no {key}"
    if "activeDeadlineSeconds" not in job["jobTemplate"]["spec"]:
        yield "CronJob: may run for ever"
    host = re.sub(r"http://(.*)-head-svc:8265", r"\1", schedule.address or "")
    if host not in clusters:
        yield f"CronJob: there is no cluster at {schedule.address}"
    for name, spec in clusters.items():
        if spec["rayVersion"] != pins()["ray"]:
            yield f"RayCluster {name}: Ray {spec['rayVersion']}"
