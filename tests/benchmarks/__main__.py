"""Every benchmark of speed in one table: ``python -m tests.benchmarks [MNIST]``, or ``make bench``.

MNIST is a folder of its parquet files. The table goes to standard output and into
``docs/performance.md``, the same as JSON to ``docs/benchmarks.json``. Nothing else should run then.
What a given quality costs takes hours: ``python -m tests.benchmarks.quality``.
"""

import re
import sys
from pathlib import Path

from tests.benchmarks import evaluating, loading, rates, scaling, startup, steps, tax

DOCS = Path(__file__).parents[2] / "docs"
_TABLE = re.compile(r"(<!-- table:[^\n]*\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Measure, print, save."""
    mnist = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    sections = (
        *(steps.rows, scaling.rows, evaluating.rows, evaluating.gate_rows),
        *(evaluating.inception_rows, startup.rows),
    )
    rows = [row for section in sections for row in section()]
    rows += tax.rows(mnist) + loading.rows(mnist)
    told = f"{', '.join(rates.occasion().values())}\n\n{rates.table(rows)}\n"
    print(told)
    rates.save(rows, DOCS / "benchmarks.json")
    page = DOCS / "performance.md"
    page.write_text(_TABLE.sub(lambda found: f"{found[1]}\n{told}\n{found[2]}", page.read_text()))


if __name__ == "__main__":
    main()
