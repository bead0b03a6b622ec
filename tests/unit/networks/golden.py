"""States of before networks had named submodules. The code of that time wrote old_keys.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bngan.data.dataset import ImageSpec
from bngan.networks.config import ModelConfig

SPEC = ImageSpec((1, 16, 16), (0.5, 0.5))
"""Images of the networks in the file."""
CASES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("old_keys.json").read_text())
"""By name of a case: its configuration, and for each network the present key by the old one."""


def configured(case: str) -> ModelConfig:
    return ModelConfig.from_dict(CASES[case]["model"])


def with_old_keys(state: Mapping[str, Any], case: str, part: str) -> dict[str, Any]:
    """The generator's or discriminator's ``state``, as earlier code would have called its tensors."""
    return {old: state[present] for old, present in CASES[case][part].items()}
