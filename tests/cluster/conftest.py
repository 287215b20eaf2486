"""What the searches on clusters share: their rows, and a worker that is killed in the middle."""

import os
import signal
import uuid
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

from skflow import DensityEnsemble, FlowOutlierDetector, RelativeGradientFlow, TableFlow

# From this base no fit starts from a mixture, which takes long and is no matter here.
QUICK = {"n_layers": 2, "base_distribution": "logistic", "max_iter": 2}


@pytest.fixture(scope="session")
def X():
    return np.random.default_rng(0).gamma(2.0, size=(300, 3))


@pytest.fixture(scope="session")
def search():
    """Return a function that makes a search of six candidates, by 18 fits."""

    def search(kind=RelativeGradientFlow):
        grid = {"learning_rate": [1e-3, 1e-2, 0.1], "activation": ["leaky_tanh", "spline"]}
        flow = kind(**QUICK, random_state=0)
        return GridSearchCV(flow, grid, cv=3, n_jobs=-1, refit=False, error_score="raise")

    return search


@pytest.fixture(scope="session")
def one_thread():
    """As many threads as a worker has, whose sums are taken in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def assert_as_in_one_process(search, X, one_thread):
    """Return a function that compares a search, to the last bit."""
    here = search().set_params(n_jobs=None).fit(X)

    def check(elsewhere):
        assert elsewhere.best_params_ == here.best_params_
        for name in ("mean_test_score", *(f"split{k}_test_score" for k in range(3))):
            np.testing.assert_array_equal(elsewhere.cv_results_[name], here.cv_results_[name])

    return check


@pytest.fixture
def mortal(tmp_path):
    """Return a function that makes a flow, one fit of which kills the process that it is in.

    That is one of the fits after the fourth, and the first of these that `is_victim` says. Other
    fits raise what a fit warns of. The file "alive" is gone when the process was killed.
    """
    alive = tmp_path / "alive"
    alive.touch()

    def mortal(is_victim):
        # In a function, so that it is pickled as a whole: workers cannot import it.
        class Mortal(RelativeGradientFlow):
            def fit(self, X, y=None, sample_weight=None):
                (tmp_path / f"fit-{uuid.uuid4().hex}").touch()
                n_fits = len(list(tmp_path.glob("fit-*")))
                # The last fits of the search wait for no victim.
                if alive.exists() and n_fits > 4 and (is_victim() or n_fits > 12):
                    alive.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    return super().fit(X, y, sample_weight)

        return Mortal

    mortal.alive = alive
    return mortal


def _scores(n_jobs):
    X = np.random.default_rng(1).gamma(2.0, size=(200, 2))
    flow = RelativeGradientFlow(**QUICK)
    options = {"random_state": 0, "n_jobs": n_jobs}
    detector = FlowOutlierDetector(flow, cv=3, **options).fit(X)
    members = [("flow", flow), ("mixture", GaussianMixture())]
    ensemble = DensityEnsemble(members, cv=3, **options).fit(X)
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(c=np.where(X[:, 0] > 1, "one", "two"))
    frame.loc[::7, "b"] = np.nan
    table = TableFlow(max_iter=2, **options).fit(frame)
    return {
        "detector": detector.score_samples(X),
        "ensemble": ensemble.score_samples(X),
        "table": table.score_samples(frame),
    }


@pytest.fixture(scope="session")
def assert_own_estimators_as_in_one_process(one_thread):
    """Return a function that fits all estimators with `n_jobs`, and compares their scores."""
    here = _scores(None)

    def check():
        elsewhere = _scores(2)
        for name, expected in here.items():
            np.testing.assert_array_equal(elsewhere[name], expected, err_msg=name)

    return check
