"""Folders with checksums, checkpoints, and dataclasses from untrusted JSON."""
