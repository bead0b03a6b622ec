"""Who reaches whom, by the NetworkPolicies among what kustomize builds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from tests.infra.tools import Document

RAY = ("head", "worker")
_ALL = (*RAY, "submitter", "mlflow")
_MUST = [
    *((one, other, "TCP", port) for one in RAY for other in RAY for port in (6379, 30000)),
    *((who, "head", "TCP", "dashboard") for who in ("submitter", "operator")),
    *(("prometheus", who, "TCP", "metrics") for who in RAY),
    *((who, "mlflow", "TCP", "http") for who in RAY),
    *((who, "dns", protocol, 53) for who in _ALL for protocol in ("UDP", "TCP")),
]
_MUST_NOT = [
    *(("stranger", who, "TCP", port) for who in RAY for port in (6379, 8080, 8265, 30000)),
    *((who, "mlflow", "TCP", 5000) for who in ("stranger", "submitter", "operator", "prometheus")),
    *((who, "head", "TCP", 6379) for who in ("submitter", "operator", "prometheus")),
    ("prometheus", "head", "TCP", 8265),
    *(("mlflow", who, "TCP", 8265) for who in RAY),
    *((who, "internet", "TCP", port) for who in _ALL for port in (443, 5432)),
    *((who, "database", "TCP", 5432) for who in (*RAY, "submitter")),
    *((who, "dns", "TCP", 443) for who in _ALL),
]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, or an address outside; its ports by name."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)


_OURS_ELSEWHERE = {"ray.io/is-ray-node": "yes", "bngan/submits": "yes"}
_OTHERS = {
    "dns": End("kube-system", {"k8s-app": "kube-dns"}),
    "operator": End("kuberay-system"),
    "prometheus": End("monitoring"),
    "stranger": End("default", _OURS_ELSEWHERE),
    "database": End(address="10.20.30.40"),
    "internet": End(address="203.0.113.9"),
}


def members(documents: list[Document]) -> Iterator[tuple[str, Document, Document]]:
    """What every pod is here for, what it is of, and its template."""
    for document in documents:
        spec = document.get("spec", {})
        cluster = spec.get("rayClusterSpec", spec)
        if "headGroupSpec" in cluster:
            yield "head", document, cluster["headGroupSpec"]["template"]
            for group in cluster["workerGroupSpecs"]:
                yield "worker", document, group["template"]
        if document["kind"] == "RayJob":
            yield "submitter", document, spec["submitterPodTemplate"]
        if document["kind"] == "CronJob":
            yield "submitter", document, spec["jobTemplate"]["spec"]["template"]
        if document["kind"] == "Deployment":
            yield document["metadata"]["name"], document, spec["template"]


def labels(role: str, template: Document) -> dict[str, str]:
    """With those that KubeRay adds."""
    added = {"ray.io/is-ray-node": "yes", "ray.io/node-type": role} if role in RAY else {}
    return {**template["metadata"]["labels"], **added}


def reach_problems(documents: list[Document], database: bool) -> Iterator[str]:
    """``database`` is whether MLflow's is outside."""
    policies = [d for d in documents if d["kind"] == "NetworkPolicy"]
    ends = [(role, end) for role, end in _OTHERS.items()]
    for role, owner, template in members(documents):
        (container,) = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        there = owner["metadata"]["namespace"]
        ends.append((role, End(there, labels(role, template), ports=ports)))
    wanted = {True: list(_MUST), False: list(_MUST_NOT)}
    wanted[database].append(("mlflow", "database", "TCP", 5432))
    for must, rows in wanted.items():
        for source, target, protocol, port in rows:
            for one in (end for role, end in ends if role == source):
                for other in (end for role, end in ends if role == target):
                    number = other.ports.get(port, 0) if isinstance(port, str) else port
                    if reaches(policies, one, other, protocol, number) != must:
                        verb = "does not reach" if must else "reaches"
                        yield f"{source} {verb} {target} at {protocol} {port}"


def reaches(policies: list[Document], source: End, target: End, protocol: str, port: int) -> bool:
    """Whether one may call, and the other be called; who no policy is for, may."""
    ways = ((source, target, "Egress", "to"), (target, source, "Ingress", "from"))
    return all(
        any(
            _let_by(rule, peer, where, protocol, port, policy["metadata"]["namespace"])
            for policy in mine
            for rule in policy["spec"].get(kind.lower(), [])
        )
        for end, peer, kind, where in ways
        if (mine := [p for p in policies if _is_for(p, end, kind)])
    )


def _is_for(policy: Document, end: End, kind: str) -> bool:
    spec, here = policy["spec"], policy["metadata"]["namespace"]
    return (
        kind in spec["policyTypes"]
        and here == end.namespace
        and _fits(spec["podSelector"], end.labels)
    )


def _let_by(
    rule: Document, peer: End, where: str, protocol: str, port: int, namespace: str
) -> bool:
    ports = rule.get("ports", [{"protocol": protocol, "port": port}])
    return any(
        (p.get("protocol", "TCP"), p.get("port", port)) == (protocol, port) for p in ports
    ) and (not rule.get(where) or any(_meant(each, peer, namespace) for each in rule[where]))


def _meant(given: Document, end: End, namespace: str) -> bool:
    if block := given.get("ipBlock"):
        return bool(end.address) and ip_address(end.address) in ip_network(block["cidr"])
    inside = end.namespace == namespace
    if "namespaceSelector" in given:
        inside = _fits(given["namespaceSelector"], {"kubernetes.io/metadata.name": end.namespace})
    return not end.address and inside and _fits(given.get("podSelector", {}), end.labels)


def _fits(selector: Document, labels: Mapping[str, str]) -> bool:
    """Only by matchLabels; what else there could be fits nobody, and is found out by that."""
    return selector.keys() <= {"matchLabels"} and (
        selector.get("matchLabels", {}).items() <= labels.items()
    )
