"""Every benchmark of speed in one table: ``python -m tests.benchmarks [MNIST]``, or ``make bench``.

MNIST is a folder of its parquet files. The table goes to standard output, the same as JSON to
``docs/benchmarks.json``. Nothing else should run meanwhile.
"""

import sys
from pathlib import Path

from tests.benchmarks import evaluating, loading, rates, scaling, startup, steps

JSON = Path(__file__).parents[2] / "docs" / "benchmarks.json"


def main() -> None:
    """Measure, print, save."""
    mnist = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    sections = (steps.rows, scaling.rows, evaluating.rows, startup.rows)
    rows = [row for section in sections for row in section()] + loading.rows(mnist)
    print(rates.machine(), rates.table(rows), sep="\n\n")
    rates.save(rows, JSON)


if __name__ == "__main__":
    main()
