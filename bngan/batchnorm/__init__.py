"""Batch norm over all workers, and the calibration of its statistics."""
