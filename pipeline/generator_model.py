"""The registered model: an MLflow "model from code" around ``bngan.sampling.Sampler``.

Input ``index`` (int64 ``(N,)``), parameters ``seed``, ``truncation``, ``format`` and, of a generator
trained by class, ``label`` (-1: any). Output: uint8 images ``(N, H, W, C)`` or, with ``format=png``, N
strings: PNG files in base64. Image i depends on (seed, index[i]) and the label only. Weights are
safetensors and verified; nothing is unpickled. A request gets so many images, and no more.
"""

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from bngan.images import encode, to_pil
from bngan.manifest import damage
from bngan.sampling import Sampler

MOST_IMAGES, MOST_BYTES = 10_000, 2**24
"""What one request gets at most: images, and bytes of their pixels."""
PARAMETERS: dict[str, Any] = {"seed": 0, "truncation": 1.0, "label": -1, "format": "array"}
"""Their names and defaults."""


class GeneratorModel(PythonModel):
    """Generates images by index."""

    sampler: Sampler

    def load_context(self, context: Any) -> None:
        """Load configuration and weights.

        Raises:
            MlflowException: naming the file that is not as it was registered.
        """
        folder = Path(context.artifacts["generator"])
        if problem := damage(folder):
            raise MlflowException.invalid_parameter_value(problem)
        self.sampler = Sampler.load(folder)

    def predict(
        self, context: Any, model_input: Any, params: dict[str, Any] | None = None
    ) -> np.ndarray | list[str]:
        """Images at ``model_input["index"]``.

        Raises:
            MlflowException: naming the parameter that has a value it cannot have.
        """
        values = model_input["index"] if isinstance(model_input, Mapping) else model_input
        try:
            settings = _settings(params or {})
            indices = _indices(values, most_images(self.sampler))
            label = settings["label"]
            images = self.sampler.images(
                settings["seed"],
                indices,
                settings["truncation"],
                None if label == -1 else [label] * len(indices),
            )
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        if settings["format"] == "array":
            return images
        return [base64.b64encode(encode(to_pil(image))).decode() for image in images]


def most_images(sampler: Sampler) -> int:
    """Images that one request gets at most."""
    return max(1, min(MOST_IMAGES, MOST_BYTES // math.prod(sampler.spec.shape)))


def _indices(values: Any, most: int) -> list[int]:
    """What the caller asks for, as whole numbers."""
    if not hasattr(values, "__len__") or isinstance(values, str | bytes | Mapping):
        raise ValueError("index must be a list of whole numbers")
    if len(values) > most:
        raise ValueError(
            f"index has {len(values)} numbers, and a request gets {most} images at most"
        )
    if isinstance(values, list) and any(type(value) is not int for value in values):
        raise ValueError("index must be a list of whole numbers")
    array = np.asarray(values if len(values) else np.zeros(0, np.int64))
    if array.dtype.kind not in "iu" or array.size != len(values) or array.max(initial=0) >= 2**63:
        raise ValueError("index must be a list of whole numbers from 0 to 2^63 - 1")
    return [int(value) for value in array.reshape(-1)]


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters, of the types they must have."""
    found = {**PARAMETERS, **given}
    for name in ("seed", "label"):
        value = found[name]
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} must be a whole number of 64 bits, got {value!r:.60}")
        found[name] = int(value)
    truncation = found["truncation"]
    number = isinstance(truncation, int | float | np.number) and not isinstance(truncation, bool)
    if not number or not 0 < truncation <= 1:
        raise ValueError(f"truncation must lie in (0, 1], got {truncation!r:.60}")
    found["truncation"] = float(truncation)
    if found["format"] not in ("array", "png"):
        raise ValueError(f"format must be array or png, got {found['format']!r:.60}")
    return found


set_model(GeneratorModel())
