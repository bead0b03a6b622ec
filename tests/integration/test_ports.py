"""A run on one machine listens on the loopback interface, but for what docs/security.md lists."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import ray  # noqa: F401 (brings psutil along)

from pipeline.cluster import launch
from tests.environment import ROOT
from tests.waiting import until

LISTED = {"torch's TCPStore"}
"""Servers that listen on all interfaces, as docs/security.md calls them."""


def worker(settings: dict[str, Any]) -> None:
    """Report the environment that decides on ports, and wait until the driver has looked."""
    from ray.train import get_context
    from torch.distributed import barrier

    names = ("MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    record = {name: os.environ.get(name) for name in names}
    barrier()  # with sockets between the workers
    if get_context().get_world_rank() == 0:
        settings["queue"].put(record)
    until(Path(settings["looked"]).exists)


def listening() -> dict[int, tuple[str, str]]:
    """Return address and process, by port, of all that this process and its children listen on."""
    import psutil

    me, found = psutil.Process(), dict[int, tuple[str, str]]()
    for process in (me, *me.children(recursive=True)):
        for socket in process.net_connections("inet"):
            if socket.status == psutil.CONN_LISTEN:
                found[socket.laddr.port] = (socket.laddr.ip, process.name())
    return found


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("alone")
def test_a_run_listens_where_this_machine_alone_can_reach_it(tmp_path: Path) -> None:
    seen, looked = list[tuple[dict[str, Any], dict[int, tuple[str, str]]]](), tmp_path / "looked"
    before = set(listening())

    def look(record: dict[str, Any]) -> None:
        seen.append((record, listening()))
        looked.touch()

    launch.run_training_workers(
        worker,
        {"looked": str(looked)},
        name="ports",
        storage={"storage_path": str(tmp_path)},
        num_workers=(2, 2),
        accelerator="cpu",
        max_failures=0,
        on_record=look,
    )
    ((said, ports),) = seen
    assert said["MASTER_ADDR"] == "127.0.0.1"
    assert said["GLOO_SOCKET_IFNAME"] == said["NCCL_SOCKET_IFNAME"] == "lo"
    opened = {port: where for port, where in ports.items() if port not in before}
    names = {name.split("::")[-1] for _, name in opened.values()}
    assert {"gcs_server", "raylet"} <= names, names  # it is Ray that was looked at
    assert len(opened) >= 10
    outside = {port: who for port, who in opened.items() if not on_this_machine(who[0])}
    assert outside.pop(int(said["MASTER_PORT"]))[1].startswith("ray::RayTrainWo")
    assert outside == {}
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert [name for name in LISTED if f"* {name} " not in text] == []


def on_this_machine(address: str) -> bool:
    """Return whether an address, IPv4 in IPv6 included, is a loopback address."""
    found = ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
