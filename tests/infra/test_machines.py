"""What runs on bare machines: Ray's start scripts, its runtime environment, systemd's units."""

import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.runtime_env import RuntimeEnv

from pipeline.core.uris import secrets
from tests.infra.tools import INFRA, ROOT, Problems, judge, plant, run

RAY, SYSTEMD = INFRA / "ray", INFRA / "systemd"
SCRIPTS = sorted(INFRA.rglob("*.sh"))
SERVICE = (SYSTEMD / "bngan-evaluate.service").read_text()
TIMER = (SYSTEMD / "bngan-evaluate.timer").read_text()
ENVIRONMENT = (RAY / "runtime_env.yaml").read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_sound(path: Path) -> None:
    text = path.read_text()
    assert judge("shellcheck", "-", given=text) == []
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert path.stat().st_mode & stat.S_IXUSR
    assert judge("shellcheck", "-", given=f"{text}\ncd $HOME/x; rm -r $1\n")


def started(script: str, folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """What ``ray`` is called with, and what is printed, by a ``ray`` that only says so."""
    (folder / "bin").mkdir(exist_ok=True)
    (fake := folder / "bin" / "ray").write_text(
        '#!/bin/sh\necho "mode=$RAY_AUTH_MODE" "$@"\ntouch "$HOME/by-ray"\n'
    )
    fake.chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = run(RAY / script, *arguments, **{"HOME": str(folder), **environment, "PATH": path})
    return done.stdout.strip(), done.stderr.strip()


def test_a_head_makes_a_token_once_and_listens_here(tmp_path: Path) -> None:
    called, _ = started("start-head.sh", tmp_path, "--num-cpus", "0")
    token = tmp_path / ".ray" / "auth_token"
    made = token.read_text()
    assert re.fullmatch("[0-9a-f]{64}", made)
    assert token.stat().st_mode & 0o777 == 0o600
    assert called.startswith("mode=token start --head --block")
    assert called.endswith("--dashboard-host 127.0.0.1 --dashboard-port 8265 --num-cpus 0")
    assert "--metrics-export-port 8080" in called
    # What Ray writes is for Prometheus to read, which may be another user.
    assert (tmp_path / "by-ray").stat().st_mode & 0o044 == 0o044
    started("start-head.sh", tmp_path)
    assert token.read_text() == made
    started("start-head.sh", tmp_path, RAY_AUTH_TOKEN_PATH=str(tmp_path / "other"))
    assert (tmp_path / "other").exists()


def test_nobody_joins_without_the_token(tmp_path: Path) -> None:
    called, told = started("join.sh", tmp_path, "head")
    assert (called, told) == (
        "",
        f"there is no token in {tmp_path}/.ray/auth_token: copy it from head",
    )
    assert "usage: join.sh HEAD" in started("join.sh", tmp_path)[1]
    called, _ = started("join.sh", tmp_path, "head", "--num-cpus", "1", RAY_AUTH_TOKEN="x")
    assert called == (
        "mode=token start --address head:6379 --block --metrics-export-port 8080 --num-cpus 1"
    )


def environment_problems(text: str) -> Problems:
    given: dict[str, Any] = yaml.safe_load(text)
    found = [f"unknown: {key}" for key in given.keys() - RuntimeEnv.known_fields]
    try:
        RuntimeEnv(**given)
    except (TypeError, ValueError) as error:
        found.append(str(error))
    found += [problem.message for problem in secrets(given.get("env_vars", {}))]
    for name in given.get("env_vars", {}):
        if re.search("TOKEN|PASSWORD|SECRET|KEY", name):
            found.append(f"everybody would see {name}")
    return found


def test_the_runtime_environment_is_sound() -> None:
    assert environment_problems(ENVIRONMENT) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("env_vars:", "env_var:", "unknown: env_var"),
        ('"1"', "1", "env_vars"),
        ("HF_HUB_OFFLINE", "AWS_SECRET_ACCESS_KEY", "everybody would see AWS_SECRET_ACCESS_KEY"),
        ("http://mlflow", "http://me:hunter2@mlflow", "login or key"),
        ("setup_timeout_seconds: 600", "setup_timeout_seconds: soon", "setup_timeout_seconds"),
    ],
)
def test_mistakes_in_the_runtime_environment_are_found(old: str, new: str, told: str) -> None:
    assert told in "\n".join(environment_problems(plant(ENVIRONMENT, old, new)))


def unit_problems(service: str, timer: str, folder: Path) -> Problems:
    """By systemd itself where there is one, and by what the project wants of them."""
    found = []
    if shutil.which("systemd-analyze"):
        for suffix, text in (("service", service), ("timer", timer)):
            (folder / f"bngan-evaluate.{suffix}").write_text(text)
        units = sorted(folder.glob("bngan-evaluate.*"))
        done = run("systemd-analyze", "verify", "--man=no", *units)
        found += [*done.stderr.splitlines(), *[f"exit code {c}" for c in [done.returncode] if c]]
    cron = yaml.safe_load((ROOT / "configs/schedules/nightly.yaml").read_text())["cron"]
    minute, hour, *_ = cron.split()
    if f"OnCalendar=*-*-* {int(hour):02}:{int(minute):02}:00 UTC\n" not in timer:
        found.append(f"comes at another time than {cron}")
    if "Persistent=true\n" not in timer:
        found.append("what was slept through is lost")
    if not re.search(r"(?m)^User=(?!root)\w+$", service):
        found.append("runs as root")
    hardening = ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n")
    found += [f"without {each.strip()}" for each in hardening if f"\n{each}" not in service]
    if re.search(r"(?m)^Environment=.*(PASSWORD|SECRET|TOKEN)", service):
        found.append("has a secret written down")
    return found


def test_units_are_sound(tmp_path: Path) -> None:
    assert unit_problems(SERVICE, TIMER, tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("03:00:00 UTC", "04:00:00 UTC", "comes at another time"),
        ("Persistent=true", "Persistent=false", "slept through"),
        ("User=bngan", "User=root", "runs as root"),
        ("NoNewPrivileges=yes", "NoNewPrivileges=no", "without NoNewPrivileges"),
        ("Environment=HOME", "Environment=MLFLOW_TRACKING_PASSWORD=x HOME", "has a secret"),
    ],
)
def test_mistakes_in_units_are_found(old: str, new: str, told: str, tmp_path: Path) -> None:
    both = [text.replace(old, new) for text in (SERVICE, TIMER)]
    assert both != [SERVICE, TIMER]
    assert told in "\n".join(unit_problems(*both, tmp_path))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("PrivateTmp=yes", "PrivatTmp=yes", "PrivatTmp"),
        ("Type=oneshot", "Type=once", "once"),
        ("ExecStart=/bin/sh", "ExecStart=/bin/no-such-shell", "no-such-shell"),
        ("TimeoutStartSec=3h", "TimeoutStartSec=3 houres", "houres"),
        ("*-*-* 03:00:00 UTC", "*-*-* 25:00:00 UTC", "25:00:00"),
    ],
)
def test_mistakes_that_systemd_finds(old: str, new: str, told: str, tmp_path: Path) -> None:
    both = [text.replace(old, new) for text in (SERVICE, TIMER)]
    assert told in "\n".join(unit_problems(*both, tmp_path))


def test_the_units_command_is_what_bngan_takes() -> None:
    """As systemd and the shell pass it on, but for the program."""
    (line,) = re.findall(r"(?m)^ExecStart=/bin/sh -c '(.*)'$", SERVICE)
    line = (
        line.replace("$$", "$").replace("%%", "%").replace("/opt/bngan/bin/bngan", "printf '%s\\n'")
    )
    name, file, option, days = run("/bin/sh", "-c", line).stdout.split()
    assert (name, file, option) == ("schedule", "/etc/bngan/nightly.yaml", "--partition")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.\.\d{4}-\d\d-\d\d", days)
