"""Names on a terminal that would obey them."""

import io

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cli.app import print_stderr
from pipeline.cli.display import ConsoleDisplay, print_lines
from pipeline.cli.terminal import Terminal
from pipeline.workflow.results import StageResult
from tests.unit.reports.names import NASTY


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_line_shows_a_name_and_obeys_nothing(name: str) -> None:
    console = Terminal()
    with console.capture() as captured:
        print_lines(console, f"class {name} end")
        console.print(f"[bold]{escape(name)}[/] end", soft_wrap=True)
    shown = captured.get()
    assert shown.count("\n") == 2
    assert all(line.isprintable() and line.endswith(" end") for line in shown.splitlines())
    if name.isprintable():
        assert shown == f"class {name} end\n{name} end\n"


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_table_obeys_no_name_in_a_cell(name: str) -> None:
    console, table = Terminal(), Table("a", "b", box=None)
    table.add_row(escape(name), "end")
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    assert all(line.isprintable() for line in lines)
    assert sum(line.rstrip().endswith("end") for line in lines) == 1


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_run_obeys_no_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Terminal(stderr=True)
    console.file = io.StringIO()
    display = ConsoleDisplay(console)
    monkeypatch.setattr("pipeline.cli.display._PLAIN_INTERVAL", 0.0)
    display.message(name)
    display.progress("study", 1, 2, name)
    display.stage_ended("study", StageResult("ran", 1.0, "why", name))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_progress_bar_obeys_no_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(note: str) -> set[str]:
        """Return the escape sequences of a bar with this note."""
        console = Console(file=io.StringIO(), force_terminal=True, width=2000, color_system=None)
        display = ConsoleDisplay(console)
        display.progress("study", 1, 2, note)
        display.close()
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "\x00" not in text
        assert "\u202e" not in text
        return {part[:4] for part in text.split("\x1b")[1:]}

    assert drawn(name) <= drawn("name")


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_plain_line_on_standard_error_obeys_no_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_stderr(name, "end")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
