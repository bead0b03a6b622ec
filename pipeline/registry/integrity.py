"""Verify that a model is the one that was registered, and that it runs no code unasked."""

import os
from collections.abc import Mapping
from pathlib import Path

from bngan.metrics.features import INFO, ExtractorInfo
from bngan.metrics.pretrained import file_hash
from bngan.serialization.json_records import dataclass_from_json, read_json_object
from bngan.serialization.manifest import damage, digest, outputs_digest, write_manifest
from pipeline.core.errors import UserError

TRUST = "BNGAN_TRUST_EXTRACTOR"
"""Environment variable: SHA-256 of foreign networks that may be loaded, with commas in between."""
FILES = "bngan.files"
"""Tag of versions: digest of all files, in another place than the files are."""


class IntegrityError(UserError):
    """Report a registered model that differs from its registered files, or cannot be verified."""


def require_trust(reference: Path, uri: str) -> None:
    """Refuse an extractor that may run any code, unless a person trusts it by its hash.

    Inception's weights are tensors and our own networks safetensors; a file by torch.export or
    TorchScript is a program (docs/security.md).

    Raises:
        UserError: saying how to trust it.
    """
    try:
        info = dataclass_from_json(ExtractorInfo, read_json_object(reference / INFO), INFO)
        if info.weights is None or info.kind == "inception":
            return
        sha256 = file_hash(reference / info.stored_as)
    except ValueError as error:
        raise UserError(f"{uri}: {error}") from error
    if sha256 not in (text.strip() for text in os.environ.get(TRUST, "").split(",")):
        raise UserError(
            f"{uri} is scored by the network in {info.weights}, which may run any code where it is "
            f"loaded, here or on a cluster's nodes: if you trust who made it, set {TRUST}={sha256}"
        )


def write_manifests(parts: Mapping[str, Path]) -> str:
    """Write a manifest into each folder, and return the digest of them all."""
    for folder in parts.values():
        write_manifest(folder, {})
    return _digest(parts)


def _digest(parts: Mapping[str, Path]) -> str:
    return digest({name: outputs_digest(folder, ("*",)) for name, folder in parts.items()})


def find_tampering(folder: Path, registered: str | None) -> str | None:
    """Return the first difference of a downloaded model from the registered one, or None."""
    if registered is None:
        return f"the registry has no tag {FILES} to verify it by: register it again"
    parts = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    for path in parts.values():
        if problem := damage(path):
            return problem.replace(f"{folder}/", "")
    if _digest(parts) != registered:
        return f"its parts ({', '.join(sorted(parts))}) are others than the registry's {FILES} says"
    return None
