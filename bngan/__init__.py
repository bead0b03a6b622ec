"""GANs with batch normalisation: networks, losses, synchronised batch norm, training and metrics.

A plain torch library. It runs in one process, under ``torchrun``, or inside any framework that has
initialised ``torch.distributed``; it never starts or needs an orchestrator.
"""

__version__ = "0.1.0"
