"""The library's own tests that need a GPU, in a process of their own."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.benchmarks.gpu.session import Session, Values

ROOT = Path(__file__).parents[3]
TESTS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/unit/**/test_*_gpu.py"))


def run(session: Session) -> None:
    """Run the tests marked ``gpu``, a row for all and one for each that failed."""
    session.attempt("pytest -m gpu", lambda: _suite(session), needs=10)


def _suite(session: Session) -> Values:
    report = (session.out / "gpu_tests.xml").resolve()
    report.unlink(missing_ok=True)
    plain = ["--noconftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--tb=short", *plain]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(
        [*command, f"--junitxml={report}", *TESTS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=max(session.left(), 10),
        check=False,
    )
    (session.out / "gpu_tests.log").write_text(done.stdout + done.stderr)
    if not report.exists():
        raise RuntimeError(
            f"pytest ended with {done.returncode}: {_last(done.stdout, done.stderr)}"
        )
    return _read(session, report, done.returncode)


def _last(*texts: str) -> str:
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"


def _read(session: Session, report: Path, code: int) -> Values:
    """Return counts, after a row for each test that failed."""
    cases = list(ET.parse(report).iter("testcase"))
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in cases:
        bad = case.find("failure") if case.find("error") is None else case.find("error")
        kind = "skipped" if case.find("skipped") is not None else "passed"
        kind = kind if bad is None else "failed"
        counts[kind] += 1
        if bad is not None:
            text = bad.get("message") or bad.text or ""
            says = {"seconds": float(case.get("time") or 0), "text": (bad.text or "")[-2000:]}
            line = next(iter(text.strip().splitlines()), "")[:300]
            session.add(str(case.get("name")), {**says, "says": line}, "not ok")
    seconds = {str(case.get("name")): float(case.get("time") or 0) for case in cases}
    return {**counts, "exit": code, "tests": seconds, "ok": not counts["failed"] and bool(cases)}
