"""The interface of a registered model: its code, inputs, outputs and requirements."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

_PYTHON_MODEL = str(Path(__file__).with_name("pyfunc_model.py"))
_REQUIREMENTS = ("mlflow", "torch", "numpy", "safetensors", "pillow")


def model_interface() -> dict[str, Any]:
    """Return arguments of ``mlflow.pyfunc.save_model``.

    The model takes ``index`` (int64 ``(N,)``) and returns images (uint8 ``(N, H, W, C)``).
    """
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.int64), (-1,), "index")]),
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1))]),
        params=ParamSchema(
            [
                ParamSpec("seed", "long", 0),
                ParamSpec("truncation", "double", 1.0),
                ParamSpec("label", "long", -1),
                ParamSpec("class_name", "string", None),
                ParamSpec("format", "string", "array"),
            ]
        ),
    )
    return {
        "python_model": _PYTHON_MODEL,
        "signature": signature,
        "input_example": {"index": np.arange(4)},  # MLflow warns where a model has none
        "pip_requirements": [f"{name}=={version(name)}" for name in _REQUIREMENTS],
    }
