"""The report as a browser shows it."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import run

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PAGE = """<!doctype html><meta name="color-scheme" content="{scheme}">
<iframe style="width: {width}px; height: 900px" srcdoc="{report}"></iframe>
<output></output><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const images = [...page.images];
  document.querySelector("output").textContent = JSON.stringify([
    images.length, images.filter(i => !i.complete || !i.naturalWidth).length,
    root.scrollWidth - root.clientWidth]);
}});
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    result = run(folder, "model.conditional=true", "model.generator.norm=self_modulated_batch")
    return Path(result["report"]).read_text()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_load_nothing_overflows_and_nothing_is_asked_for(
    report: str, width: int, scheme: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(width=width, scheme=scheme, report=html.escape(report)))
    switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    quiet = "--disable-background-networking --disable-component-update --enable-logging=stderr"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    arguments = [*switches.split(), *quiet.split(), profile, "--virtual-time-budget=5000"]
    done = subprocess.run(
        [str(CHROMIUM), *arguments, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (found,) = re.findall(r"<output>\[(\d+),(\d+),(-?\d+)\]</output>", done.stdout)
    pictures, broken, overflow = (int(number) for number in found)
    assert (pictures, broken, overflow) == (9, 0, 0)
    assert "CONSOLE" not in done.stderr, done.stderr
    assert re.findall(r"""(?:src|href)=["'](?!data:)|url\(|https?:""", report) == []
