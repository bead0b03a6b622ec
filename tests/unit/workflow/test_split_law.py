"""Where the configuration leaves the law of the splits open."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config.schema import Config, DataConfig
from pipeline.core.errors import UserError
from pipeline.workflow import split_law
from pipeline.workflow.split_law import with_split_law


def run(end: int, **config: Any) -> SimpleNamespace:
    recorded = {"data.path": "/images", **config}
    tags = {"fp.code": "{}", "fp.config": json.dumps(recorded), "fp.inputs": "{}"}
    return SimpleNamespace(data=SimpleNamespace(tags=tags), info=SimpleNamespace(end_time=end))


OLD = run(1)
BY_ORDER, BY_CONTENT = ({"data.split_by": law} for law in ("order", "content"))


@pytest.mark.parametrize(
    ("path", "law", "runs", "expected"),
    [
        ("/images", "auto", [], "content"),
        ("/images", "auto", [OLD], "order"),  # earlier code knew no other law
        ("/images", "auto", [run(1, **BY_ORDER)], "order"),
        ("/images", "auto", [OLD, run(2, **BY_CONTENT)], "content"),
        ("/images", "auto", [run(2, **BY_CONTENT), run(3, **BY_ORDER)], "order"),
        ("/images", "content", [OLD], "content"),
        ("/images", "order", [], "order"),
        ("/elsewhere", "auto", [OLD], "content"),
        ("embedded:digits", "auto", [], "order"),
    ],
)
def test_data_keep_the_law_that_they_had(
    path: str, law: Any, runs: list[Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_law, "all_runs", lambda client, condition: runs)
    config = Config(name="x", data=DataConfig(path=path, split_by=law))
    found: Any = with_split_law(config, None)  # type: ignore[arg-type]
    assert found.data.split_by == expected
    assert config.data.split_by == law


@pytest.mark.parametrize(("path", "runs"), [("/images", [OLD]), ("embedded:digits", [])])
def test_groups_need_another_law_than_order(
    path: str, runs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_law, "all_runs", lambda client, condition: runs)
    config = Config(name="x", data=DataConfig(path=path, group="folder:1"))
    with pytest.raises(UserError, match=r"^data\.group: .*: write data\.split_by=content"):
        with_split_law(config, None)  # type: ignore[arg-type]
    chosen = replace(config, data=replace(config.data, split_by="content"))
    assert with_split_law(chosen, None) == chosen  # type: ignore[arg-type]
