"""Reproducible arithmetic: random streams, deterministic kernels, BLAS threads."""
