"""Versions of the model ``gan``, registered from a generator in their workspace."""

from pathlib import Path

from pipeline.registry import aliases, registry
from pipeline.registry.logged_model import ModelPackage
from pipeline.serving.model_interface import model_interface
from pipeline.tracking.tracker import Tracker

NAME = "gan"


def packaged(workspace: Path, identity: str, fid: float, generator: str = "") -> ModelPackage:
    """Return what a version consists of, with the generator of the workspace.

    Args:
        workspace: has the folder ``generator``.
        identity: stands for the fingerprint of the registration.
        fid: the score.
        generator: stands for the digest of the generator; without it, the version has none.
    """
    tags = {aliases.FINGERPRINT: identity, "fid": f"{fid}"}
    tags |= {aliases.GENERATOR: generator} if generator else {}
    parts, data = {"generator": workspace / "generator"}, ("data", "0" * 64)
    return ModelPackage(parts, tags, f"# {identity}", {"fid": fid}, data, model_interface())


def register(workspace: Path, identity: str, fid: float, generator: str = "") -> str:
    """Register a version, and return its number."""
    tracker = Tracker(workspace, "experiment")
    run_id, package = tracker.start(identity, {}), packaged(workspace, identity, fid, generator)
    number = registry.register(workspace, run_id, NAME, package, print)
    tracker.finish(run_id, "FINISHED")
    return number
