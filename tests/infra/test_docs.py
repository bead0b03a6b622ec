"""The operations docs: links that lead somewhere, commands that exist, a picture that is one."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer.main

from pipeline.cli import app
from tests.infra.test_monitoring import anchors
from tests.infra.tools import ROOT, Problems, plant
from tests.infra.wiring import secrets

OPERATIONS = ROOT / "docs" / "operations.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def page_problems(text: str, page: Path) -> Problems:
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        if not path.exists():
            found.append(f"there is no {target}")
        elif anchor and anchor not in anchors(text if path == page else path.read_text()):
            found.append(f"there is no heading {target}")
    code = "\n".join(map("".join, re.findall(r"(?s)```\w*\n(.*?)```|`([^`\n]+)`", text)))
    for script in re.findall(r"(?m)(?<![\w/])infra/[\w./-]+\w", text):
        if not (ROOT / script).exists() and script != "infra/docker/.env":
            found.append(f"there is no {script}")
    return [*found, *command_problems(code)]


def command_problems(code: str) -> Iterator[str]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for command in re.findall(r"(?m)(?:^|exec ray-head |-- |bin/)bngan ([a-z]+)", code):
        if command not in commands:
            yield f"there is no bngan {command}"
    for command in re.findall(r"docker compose .*", code):
        if not command.startswith("docker compose -f infra/docker/compose.yaml"):
            yield f"from the root there is no file for: {command}"
    reads = r"get secret ([\w-]+) -o jsonpath='\{\.data\.([\w-]+)\}'"
    for name, key in re.findall(reads, code):
        if f"{name} with {key}" not in secrets([]):
            yield f"there is no Secret {name} with {key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_page_leads_somewhere(page: Path) -> None:
    assert page_problems(page.read_text(), page) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("(architecture.md)", "(architektur.md)", "there is no architektur.md"),
        ("bngan promote bngan", "bngan upgrade bngan", "there is no bngan upgrade"),
        ("infra/ray/join.sh", "infra/ray/joins.sh", "there is no infra/ray/joins.sh"),
        ("](architecture.md)", "](architecture.md#parts)", "there is no heading"),
        ("-- bngan promote", "-- bngan elevate", "there is no bngan elevate"),
        ("compose -f infra/docker/compose.yaml exec", "compose exec", "there is no file for"),
        ("get secret bngan-ray", "get secret ray", "there is no Secret ray with auth_token"),
        ("{.data.auth_token}", "{.data.token}", "there is no Secret bngan-ray with token"),
    ],
)
def test_mistakes_in_a_page_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(page_problems(plant(OPERATIONS.read_text(), old, new), OPERATIONS))


def test_the_picture_is_one() -> None:
    picture = ElementTree.parse(ROOT / "docs/images/architecture.svg").getroot()
    texts = {each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"workspace", "MLflow", "head: jobs", "worker 0"} <= texts
