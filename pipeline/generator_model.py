"""The registered model: an MLflow "model from code" around ``bngan.sampling.Sampler``.

Input ``index`` (int64 ``(N,)``), parameters ``seed``, ``truncation`` and, of a generator trained by
class, ``label`` (-1: any); output uint8 images ``(N, H, W, C)``. Image i depends on (seed, index[i])
and the label only. Weights are safetensors; nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel

from bngan.sampling import Sampler


class GeneratorModel(PythonModel):
    """Images from a trained generator."""

    def load_context(self, context: Any) -> None:
        """Read the weights that were registered."""
        self.sampler = Sampler.load(Path(context.artifacts["generator"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Generate one image per index. Untyped, since MLflow reads types as a signature."""
        values = model_input["index"] if isinstance(model_input, dict) else model_input
        indices = np.asarray(values, dtype=np.int64).reshape(-1).tolist()
        settings = params or {}
        label = int(settings.get("label", -1))
        return self.sampler.images(
            int(settings.get("seed", 0)),
            indices,
            float(settings.get("truncation", 1.0)),
            None if label < 0 else [label] * len(indices),
        )


mlflow.models.set_model(GeneratorModel())
