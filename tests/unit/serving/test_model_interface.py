"""What MLflow lets through to a registered model: old clients' numbers, and names."""

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from bngan.generation.predict import PARAMETERS
from bngan.serialization.manifest import write_manifest
from pipeline.serving.model_interface import model_interface
from tests.unit.serving.test_server import by_class

INDEX = {"index": np.arange(4)}
SAMPLER = by_class(("Emoji", "apps", "2nd"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PyFuncModel:
    folder = tmp_path_factory.mktemp("model")
    (folder / "generator").mkdir()
    SAMPLER.save(folder / "generator")
    write_manifest(folder / "generator", {})
    artifacts = {"generator": str(folder / "generator")}
    mlflow.pyfunc.save_model(path=folder / "saved", artifacts=artifacts, **model_interface())
    return mlflow.pyfunc.load_model(str(folder / "saved"))


def test_mlflow_knows_the_parameters_that_the_code_has() -> None:
    given = {param.name: param.default for param in model_interface()["signature"].params.params}
    assert given == PARAMETERS


@pytest.mark.parametrize(
    ("params", "number"),
    [
        ({"label": 1}, 1),
        ({"label": np.int64(1)}, 1),
        ({"class_name": "apps"}, 1),
        ({"class_name": "2"}, 2),
        ({"label": -1, "class_name": "2nd"}, 2),
        ({"label": -1}, None),
        ({"class_name": None}, None),
        (None, None),
    ],
)
def test_a_class_goes_by_number_or_by_name(model: PyFuncModel, params, number) -> None:
    labels = None if number is None else [number] * 4
    np.testing.assert_array_equal(
        model.predict(INDEX, params=params), SAMPLER.images(0, range(4), labels=labels)
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"label": 7}, 'there is no class 7: 0 Emoji, 1 apps, 2 "2nd"'),
        ({"class_name": "7"}, 'there is no class 7: 0 Emoji, 1 apps, 2 "2nd"'),
        ({"class_name": "app"}, 'there is no class app: 1 apps, 0 Emoji, 2 "2nd"'),
        ({"label": 1, "class_name": "apps"}, "give label or class_name, not both"),
    ],
)
def test_a_class_that_is_not_there_is_said_with_those_there_are(
    model: PyFuncModel, params, message
) -> None:
    with pytest.raises(MlflowException, match=message):
        model.predict(INDEX, params=params)
