"""Keep the name ``bngan.manifest``, which models registered before version 0.2 import."""

from bngan.serialization.manifest import damage

__all__ = ["damage"]
