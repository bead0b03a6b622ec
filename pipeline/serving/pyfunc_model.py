"""The registered model: an MLflow "model from code" around ``Sampler``.

Input ``index`` (int64 ``(N,)``), parameters ``seed``, ``truncation``, ``format`` and, of a generator
trained by class, ``label`` (a class's number; -1: any) or ``class_name``. Output: uint8 images
``(N, H, W, C)`` or, with ``format=png``, N strings: PNG files in base64. Image i depends on (seed,
index[i]) and the class only. Weights are safetensors and verified; nothing is unpickled. The number
of images of a request is limited.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from bngan.generation.predict import predict
from bngan.generation.sampler import Sampler
from bngan.serialization.manifest import damage


class GeneratorModel(PythonModel):
    """Generates images by index."""

    def load_context(self, context: Any) -> None:
        """Load configuration and weights.

        Raises:
            MlflowException: naming the file that has changed since its registration.
        """
        folder = Path(context.artifacts["generator"])
        if problem := damage(folder):
            raise MlflowException.invalid_parameter_value(problem)
        self.sampler = Sampler.load(folder)

    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray | list[str]:
        """Return the images at ``model_input["index"]``.

        Raises:
            MlflowException: naming the parameter whose value is not allowed.
        """
        # MLflow passes a dict of arrays, too. Of hints that say so it warns whoever loads the model.
        values = model_input.get("index") if isinstance(model_input, dict) else model_input
        try:
            return predict(self.sampler, values, params or {})
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(GeneratorModel())
