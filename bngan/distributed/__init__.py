"""Collectives between workers, over torch.distributed or shared memory."""
