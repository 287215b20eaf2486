"""Fits to rows that come in groups."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skflow import FlowOutlierDetector, RelativeGradientFlow
from skflow.training.plan import Plan


@pytest.fixture
def patches(rng):
    """Forty groups, of 5 to 44 rows each, which lie close to each other; and their names."""
    names = np.repeat([f"image {k}" for k in range(40)], np.arange(40) + 5)
    _, of_row = np.unique(names, return_inverse=True)
    return rng.normal(size=(40, 3))[of_row] + 0.05 * rng.normal(size=(len(names), 3)), names


@pytest.fixture
def held_out(monkeypatch):
    """The groups of rows that were held out and those of the others, of each plan."""
    seen = []
    make = Plan.__init__

    def recording(self, *args, **kwargs):
        make(self, *args, **kwargs)
        seen.append(
            [set(part.take_groups().tolist()) for part in (self.validation, self.training)]
        )

    monkeypatch.setattr(Plan, "__init__", recording)
    return seen


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("n_rows", [300, None])
def test_no_group_is_split(patches, held_out, n_rows, rng):
    X, groups = patches
    some = rng.permutation(len(X))[:n_rows]
    flow = RelativeGradientFlow(2, max_iter=2, random_state=0).fit(X[some], groups=groups[some])
    assert flow.n_samples_seen_ == len(some)
    ((validation, training),) = held_out
    assert len(validation) > 1
    assert not validation & training
    assert len(validation | training) == len(np.unique(groups[some]))


def test_rows_of_their_own_say_how_far_a_fit_goes(patches):
    X, groups = patches
    flow = RelativeGradientFlow(2, max_iter=30, random_state=0)
    by_rows = clone(flow).fit(X)
    by_groups = clone(flow).fit(X, groups=groups)
    # Rows of groups that were seen are far likelier than those of new groups.
    assert by_groups.best_validation_score_ < by_rows.best_validation_score_ - 1
    X_new = np.random.default_rng(1).normal(size=(4000, 3))
    assert by_groups.score(X_new) > by_rows.score(X_new) + 3


@pytest.mark.usefixtures("quick_mixtures")
def test_each_row_a_group_of_its_own(patches):
    X, _ = patches
    flow = RelativeGradientFlow(1, max_iter=2, random_state=0).fit(X, groups=np.arange(len(X)))
    assert flow.score(X) == pytest.approx(clone(flow).fit(X).score(X), abs=1.0)
    twin = clone(flow).fit(X, groups=torch.arange(len(X)).flip(0))
    assert np.isfinite(twin.score(X))


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("sizes", [(1, 99), (50, 50), (3, 1, 400), (995, 5), (1500, 1000)])
def test_few_groups(sizes, rng):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.normal(size=(len(groups), 2)) + groups[:, None]
    flow = RelativeGradientFlow(2, max_iter=2, random_state=0).fit(X, groups=groups)
    assert np.isfinite(flow.score(X))


@pytest.mark.usefixtures("quick_mixtures")
def test_rows_without_weight_belong_to_no_group(patches):
    X, groups = patches
    flow = RelativeGradientFlow(1, max_iter=2, random_state=0)
    counts = np.isin(groups, groups[[0, -1]]).astype(float)
    assert np.isfinite(flow.fit(X, sample_weight=counts, groups=groups).score(X))
    with pytest.raises(ValueError, match="two values at least"):
        flow.fit(X, sample_weight=(groups == groups[0]).astype(float), groups=groups)


@pytest.mark.usefixtures("quick_mixtures")
def test_errors(patches):
    X, groups = patches
    flow = RelativeGradientFlow(1, max_iter=1, random_state=0)
    with pytest.raises(ValueError, match=f"groups has 7 entries, but X has {len(X)} rows"):
        flow.fit(X, groups=groups[:7])
    with pytest.raises(ValueError, match=r"got one. Leave groups out, or set early_stopping"):
        flow.fit(X, groups=np.zeros(len(X)))
    mixed = np.array(["a", 1] * len(X), dtype=object)[: len(X)]
    with pytest.raises(ValueError, match="numbers alone, or strings alone"):
        flow.fit(X, groups=mixed)
    with pytest.raises(ValueError, match="1d"):
        flow.fit(X, groups=np.zeros((len(X), 2)))
    assert not hasattr(flow, "flow_")
    flow.set_params(early_stopping=False).fit(X, groups=np.zeros(len(X)))


@pytest.mark.usefixtures("quick_mixtures")
def test_pipelines_searches_and_routing_hand_groups_on(patches, held_out):
    X, groups = patches
    flow = RelativeGradientFlow(1, max_iter=1, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(), flow)
    pipeline.fit(X, relativegradientflow__groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        cross_val_score(flow, X, cv=GroupKFold(3), params={"groups": groups})
        GridSearchCV(flow, {"n_layers": [1, 2]}, cv=GroupKFold(2)).fit(X, groups=groups)
        FlowOutlierDetector(flow, cv=3, random_state=0).fit(X, groups=groups)
    assert len(held_out) == 1 + 3 + 2 * 2 + 1 + 3
    assert all(not validation & training for validation, training in held_out)
