"""A study of Optuna's, whose trials run on a cluster of Dask's. `tox run -e cluster` has it."""

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from skflow import RelativeGradientFlow

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
integration = pytest.importorskip("optuna_integration", reason="Optuna is not installed")
distributed = pytest.importorskip("distributed", reason="Dask's distributed is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # a storage on Dask is experimental

N_TRIALS = 8


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, distributed.Client(cluster) as client:
        yield client


def objective_of(path, kind):
    """Return an objective that reads the rows where they lie."""

    def objective(trial):
        flow = kind(
            n_layers=trial.suggest_int("n_layers", 1, 2),
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
            base_distribution="logistic",
            max_iter=2,
            random_state=0,
        )
        rows = np.load(path, mmap_mode="r")
        return cross_val_score(flow, rows, cv=3, error_score="raise").mean()

    return objective


def test_a_study_outlives_a_worker(client, mortal, X, tmp_path, one_thread):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    study = optuna.create_study(storage=integration.DaskStorage(), direction="maximize")
    objective = objective_of(path, mortal(lambda: True))
    trials = [
        client.submit(study.optimize, objective, n_trials=1, pure=False) for _ in range(N_TRIALS)
    ]
    client.gather(trials)
    assert not mortal.alive.exists()
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    # What the killed worker had done may be done again.
    assert N_TRIALS <= len(complete) < len(study.trials) <= 2 * N_TRIALS
    here = objective_of(path, RelativeGradientFlow)
    for trial in complete:
        assert here(optuna.trial.FixedTrial(trial.params)) == trial.value
    assert study.best_value == max(trial.value for trial in complete)
