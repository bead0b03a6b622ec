"""``python -m pipeline`` is the same as ``bngan``."""

from pipeline.cli import app

app(prog_name="bngan")
