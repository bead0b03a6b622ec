"""The registered model: an MLflow "model from code" around ``bngan.sampling.Sampler``.

Input ``index`` (int64 ``(N,)``), parameters ``seed``, ``truncation``, ``format`` and, of a generator
trained by class, ``label`` (-1: any). Output: uint8 images ``(N, H, W, C)`` or, with ``format=png``, N
strings: PNG files in base64. Image i depends on (seed, index[i]) and the label only. Weights are
safetensors; nothing is unpickled.
"""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from bngan.images import encode, to_pil
from bngan.sampling import Sampler


class GeneratorModel(PythonModel):
    """Generates images by index."""

    def load_context(self, context: Any) -> None:
        """Load configuration and weights."""
        self.sampler = Sampler.load(Path(context.artifacts["generator"]))

    def predict(
        self, context: Any, model_input: Any, params: dict[str, Any] | None = None
    ) -> np.ndarray | list[str]:
        """Images at ``model_input["index"]``.

        Raises:
            MlflowException: naming the parameter that has a value it cannot have.
        """
        values = model_input["index"] if isinstance(model_input, dict) else model_input
        indices = np.asarray(values, dtype=np.int64).reshape(-1).tolist()
        settings = {"seed": 0, "truncation": 1.0, "label": -1, "format": "array", **(params or {})}
        if settings["format"] not in ("array", "png"):
            raise MlflowException.invalid_parameter_value(
                f"format must be array or png, got {settings['format']!r}"
            )
        label = int(settings["label"])
        labels = None if label == -1 else [label] * len(indices)
        try:
            images = self.sampler.images(
                int(settings["seed"]), indices, float(settings["truncation"]), labels
            )
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        if settings["format"] == "array":
            return images
        return [base64.b64encode(encode(to_pil(image))).decode() for image in images]


set_model(GeneratorModel())
