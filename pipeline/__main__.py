"""``python -m pipeline`` is the same as ``bngan``."""

import sys
from pathlib import Path

# Python puts the current folder first on the path. Unless this package is there, a datasets/ or a
# random.py in it is the user's, and must not stand for the library of that name.
if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from pipeline.cli import main

main()
