"""A mode in which nothing may wait for a device."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

_WAITING = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select"}


class NoWaits(TorchDispatchMode):
    """Refuse operators whose results Python needs: on a GPU they wait for all earlier work."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        assert name not in _WAITING, f"{name} waits for the device"
        return function(*args, **(kwargs or {}))
