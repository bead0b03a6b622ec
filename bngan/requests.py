"""Keep the name ``bngan.requests``, which models registered before version 0.2 import."""

from bngan.generation.predict import predict as answer

__all__ = ["answer"]
