"""The function that Ray's workers import."""

import subprocess
import sys


def test_a_worker_imports_nothing_that_only_drivers_need() -> None:
    code = (
        "import sys, pipeline.workflow.stages.training_worker\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'mlflow', 'rich', 'typer'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
