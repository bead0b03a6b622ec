"""Keep the name ``bngan.sampling``, which models registered before version 0.2 import."""

from bngan.generation.sampler import Sampler

__all__ = ["Sampler"]
