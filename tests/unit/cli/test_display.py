"""Show names on a terminal that could take them for markup or emoji."""

from pipeline.cli.app import console
from pipeline.cli.display import print_lines, print_versions

NAME = ":bug: [red]x[/]"


def test_names_are_shown_as_they_are() -> None:
    version = {"name": "m", "version": "1", "aliases": [], "fid": None, "protocol": None}
    with console.capture() as shown:
        print_lines(console, f"4 images of class 1 {NAME} " + "x" * 200)
        print_versions(console, [{**version, "reason": "why", "classes": f"0 cat, 1 {NAME}"}])
        print_versions(console, [{**version, "reason": None, "classes": None}])
    lines = [line.strip() for line in shown.get().splitlines()]
    assert lines == [
        f"4 images of class 1 {NAME} " + "x" * 200,
        *("m 1          no alias", "why", f"by class: 0 cat, 1 {NAME}"),
        *("m 1          no alias", ""),
    ]
