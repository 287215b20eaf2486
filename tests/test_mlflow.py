"""Models in MLflow's own format. `tox run -e mlflow` has what this needs."""

import numpy as np
import pytest

from skflow import RelativeGradientFlow

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own


def test_mlflow_logs_and_loads_a_flow_in_its_default_format(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    X = rng.normal(size=(60, 2))
    flow = RelativeGradientFlow(2, max_iter=2, random_state=0).fit(X)
    trusted = ["skflow.estimators.density.RelativeGradientFlow"]
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(flow, name="flow", skops_trusted_types=trusted)
    again = mlflow.sklearn.load_model(info.model_uri)
    np.testing.assert_array_equal(again.score_samples(X), flow.score_samples(X))
