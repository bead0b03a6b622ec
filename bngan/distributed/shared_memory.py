"""Sums over workers that are all on one machine, through shared memory.

A small all-reduce of gloo takes a millisecond or more among processes that compute, because it
wakes three threads one after the other. Here the thread that needs the sum computes it.
"""

import mmap
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.constants import default_pg_timeout

from bngan.distributed.checksums import CorruptionError, checksum

_TIMEOUT = default_pg_timeout
"""Time that a worker waits for another one."""
_SLOT = 1 << 20
"""Bytes of a worker's slot in shared memory."""
_ADDRESS = 107
"""Maximum number of bytes of a Unix socket's address."""
_FRAME = struct.Struct("<Qi")
"""Message of a barrier: the checksum of the sender's part, and the worker whose part it found altered
before."""
_NOBODY = -1


class SharedMemory:
    """Shared buffer with two slots per worker, and a mesh of sockets that serves as the barrier.

    A worker writes into its two slots by turns. When it comes back to a slot, all workers have read
    the old content, since they have met over the other slot. Each worker adds up all parts in the
    order of ranks, so that the sum has the same bits everywhere.

    Args:
        memory: buffer with two slots of each worker.
        peers: connections to all other workers, by rank; with time limits.
    """

    def __init__(self, memory: mmap.mmap, peers: dict[int, socket.socket]) -> None:
        self._rank, self._peers, self._workers = dist.get_rank(), peers, len(peers) + 1
        self._memory, self._bytes, self._turn = memory, memoryview(memory), 0

    def sum(self, tensor: Tensor) -> None:
        """Replace contiguous ``tensor`` by its sum over workers; a collective.

        Raises:
            ConnectionError: if a worker has gone.
            CorruptionError: if a part changed on its way to any worker.
            TimeoutError: if a worker does not come within the default time limit of process groups.
        """
        if not tensor.numel():
            return
        for part in torch.split(tensor.view(-1), _SLOT // tensor.element_size()):
            slots = self._slots(part)
            slots[self._rank].copy_(part)
            self._verify(part.nbytes, self._meet(self._checksum(self._rank, part.nbytes)))
            torch.add(slots[0], slots[1], out=part)
            for slot in slots[2:]:
                part += slot

    def _slots(self, part: Tensor) -> list[Tensor]:
        """Return each worker's slot of this turn, as large as ``part``."""
        self._turn = 1 - self._turn
        return [
            torch.frombuffer(
                self._memory, dtype=part.dtype, count=len(part), offset=self._start(rank)
            )
            for rank in range(self._workers)
        ]

    def _start(self, rank: int) -> int:
        """Return where a worker's slot of this turn begins."""
        return (self._turn * self._workers + rank) * _SLOT

    def _checksum(self, rank: int, size: int) -> int:
        start = self._start(rank)
        return checksum(self._bytes[start : start + size])

    def _verify(self, size: int, sent: dict[int, int]) -> None:
        """Compare others' slots with their checksums; all workers raise if one differs."""
        for rank, expected in sent.items():
            if self._checksum(rank, size) != expected:
                for peer in self._peers.values():
                    with suppress(OSError):
                        peer.send(_FRAME.pack(0, rank))
                raise _altered(rank, self._rank)

    def _meet(self, mine: int) -> dict[int, int]:
        """Wait until all workers have come here, and return the others' checksums by rank."""
        sums = dict[int, int]()
        for peer in self._peers.values():
            with suppress(ConnectionError):  # what it sent before it went is heard below
                peer.send(_FRAME.pack(mine, _NOBODY))
        for rank, peer in self._peers.items():
            try:
                frame = peer.recv(_FRAME.size)
                sums[rank], altered = _FRAME.unpack(frame)
            except (ConnectionError, struct.error) as error:
                raise ConnectionError(f"worker {rank} has gone") from error
            except TimeoutError as error:
                message = f"worker {rank} has not come to a sum for {_TIMEOUT}"
                raise TimeoutError(message) from error
            if altered != _NOBODY:
                raise _altered(altered, rank)
        return sums


def _altered(sender: int, receiver: int) -> CorruptionError:
    return CorruptionError(f"worker {receiver} found what worker {sender} sent to a sum altered")


def connect() -> SharedMemory | None:
    """Return memory of all workers, or None if any two cannot share it; a collective of gloo."""
    if sys.platform != "linux":
        return None
    rank, workers = dist.get_rank(), dist.get_world_size()
    with _listening() as (listener, address), ExitStack() as stack:
        peers = _reach(_everyones(address)[:rank], stack)
        memory = None if rank else _create(workers, stack)
        ready = address and len(peers) == rank and (rank > 0 or memory is not None)
        dist.all_reduce(votes := torch.tensor(int(bool(ready))), dist.ReduceOp.MIN)
        if not votes:
            return None
        while len(peers) < workers - 1:
            peer = _patient(stack.enter_context(listener.accept()[0]))
            peers[int.from_bytes(peer.recv(4))] = peer
        memory = _hand_round(memory, peers)
        stack.pop_all()
    try:
        return SharedMemory(mmap.mmap(memory, 0), peers)
    finally:
        os.close(memory)


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, bytes]]:
    """Yield a socket for others on this machine, and its address; empty if it has no place."""
    with _patient(socket.socket(socket.AF_UNIX)) as listener, ExitStack() as stack:
        address = b""
        with suppress(OSError):
            folder = tempfile.TemporaryDirectory(prefix="bngan-", ignore_cleanup_errors=True)
            listener.bind(str(Path(stack.enter_context(folder), "socket")))
            listener.listen(dist.get_world_size())
            address = os.fsencode(listener.getsockname())
        yield listener, address


def _patient(one: socket.socket) -> socket.socket:
    one.settimeout(_TIMEOUT.total_seconds())
    return one


def _everyones(address: bytes) -> list[bytes]:
    mine = torch.tensor(list(address.ljust(_ADDRESS, b"\0")), dtype=torch.uint8)
    addresses = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(addresses, mine)
    return [bytes(each.tolist()).rstrip(b"\0") for each in addresses]


def _reach(addresses: list[bytes], stack: ExitStack) -> dict[int, socket.socket]:
    """Return connections to the workers at ``addresses`` that are on this machine, by rank."""
    peers = {}
    for rank, address in enumerate(addresses):
        peer = stack.enter_context(_patient(socket.socket(socket.AF_UNIX)))
        with suppress(OSError):
            peer.connect(address)
            peer.sendall(dist.get_rank().to_bytes(4))
            peers[rank] = peer
    return peers


def _create(workers: int, stack: ExitStack) -> int | None:
    """Return a descriptor of memory without a name; None if the system gives none."""
    try:
        memory = os.memfd_create("bngan")
        stack.callback(os.close, memory)
        os.ftruncate(memory, 2 * _SLOT * workers)
    except OSError:
        return None
    return memory


def _hand_round(memory: int | None, peers: dict[int, socket.socket]) -> int:
    """Return worker 0's descriptor; every other worker receives one of its own."""
    if memory is None:
        _, descriptors, _, _ = socket.recv_fds(peers[0], 1, 1)
        if not descriptors:
            raise ConnectionError("worker 0 has gone")
        return descriptors[0]
    for peer in peers.values():
        socket.send_fds(peer, [b"\0"], [memory])
    return memory
