"""State on disk without pickle: tensors as safetensors, everything else as JSON.

A checkpoint is a folder that appears whole or not at all: it is written under a temporary name,
flushed to disk and renamed.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS, VALUES = "state.safetensors", "state.json"


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors, JSON values, nested dicts and lists) as ``folder``, atomically.

    Raises:
        FileExistsError: if ``folder`` is there already.
    """
    if folder.exists():
        raise FileExistsError(folder)
    tensors: dict[str, Tensor] = {}
    values = _extract(state, "", tensors)
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(tensors, temporary / TENSORS)
    (temporary / VALUES).write_text(json.dumps(values))
    for path in (temporary / TENSORS, temporary / VALUES, temporary):
        _flush(path)
    temporary.rename(folder)
    _flush(folder.parent)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """The state that ``save_checkpoint`` wrote, on the CPU."""
    values = json.loads((folder / VALUES).read_text())
    state: dict[str, Any] = _restore(values, load_file(folder / TENSORS))
    return state


def _extract(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Copy of ``value`` as JSON data, its tensors moved to ``tensors`` and replaced by their names."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, Mapping):
        # JSON knows string keys only; optimisers number their parameters.
        items = [[k, _extract(v, f"{path}/{k}", tensors)] for k, v in value.items()]
        return {"mapping": items}
    if isinstance(value, list | tuple):
        return {"list": [_extract(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _restore(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    match node:
        case {"tensor": path}:
            return tensors[path]
        case {"mapping": items}:
            return {key: _restore(item, tensors) for key, item in items}
        case {"list": items}:
            return [_restore(item, tensors) for item in items]
        case {"value": value}:
            return value
    raise ValueError("not a checkpoint written by bngan")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
