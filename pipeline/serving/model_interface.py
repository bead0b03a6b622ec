"""The interface of a registered model: its code, inputs, outputs and requirements."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

from pipeline.registry.logged_model import ModelInterface

_PYTHON_MODEL = Path(__file__).with_name("pyfunc_model.py")
_REQUIREMENTS = ("mlflow", "torch", "numpy", "safetensors", "pillow")


def model_interface() -> ModelInterface:
    """Return the interface: ``index`` (int64 ``(N,)``) to images (uint8 ``(N, H, W, C)``)."""
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.int64), (-1,), "index")]),
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1))]),
        params=ParamSchema(
            [
                ParamSpec("seed", "long", 0),
                ParamSpec("truncation", "double", 1.0),
                ParamSpec("label", "long", -1),
                ParamSpec("format", "string", "array"),
            ]
        ),
    )
    requirements = [f"{name}=={version(name)}" for name in _REQUIREMENTS]
    return ModelInterface(_PYTHON_MODEL, signature, {"index": np.arange(4)}, requirements)
