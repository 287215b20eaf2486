"""Fits that are killed go on where they were, with the same bits, or say why they do not."""

import os
import signal
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.exceptions import FileFormatError
from skflow.storage import replacing
from skflow.storage.encoding import Encoder
from skflow.storage.files import parts_of_file
from skflow.training import checkpoint
from skflow.training.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("quick_mixtures")


class Killed(BaseException):
    """What nothing but a test catches."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


@pytest.fixture
def killed_after(monkeypatch):
    """Make fits write after each epoch, and end as if killed after so many."""

    def after(n_epochs):
        keep, left = Checkpoint.keep, [n_epochs]

        def keep_and_die(self, fit):
            self._seconds = 0.0
            keep(self, fit)
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "keep", keep_and_die)
            yield

    return after


def kill(killed_after, n_epochs, fit):
    for _ in killed_after(n_epochs):
        with pytest.raises(Killed):
            fit()


def table(n_rows, n_features=3):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features))
    X[:, 1] += X[:, 0] ** 2
    return X


FITS = {
    "few rows": (300, {"max_iter": 6}),
    "few rows, without candidates": (300, {"max_iter": 9, "early_stopping": False}),
    "many rows": (2100, {"max_iter": 9, "n_layers": 2}),
    "plain descent": (2100, {"max_iter": 9, "n_layers": 2, "optimizer": "sgd"}),
    "Adam": (2100, {"max_iter": 9, "n_layers": 2, "optimizer": "adam", "dtype": "float64"}),
}


@pytest.mark.parametrize("name", FITS)
def test_a_killed_fit_ends_with_the_bits_of_one_that_was_not(name, path, killed_after):
    n_rows, parameters = FITS[name]
    X = table(n_rows)
    whole = RelativeGradientFlow(random_state=0, **parameters).fit(X)
    flow = RelativeGradientFlow(random_state=0, checkpoint_path=path, **parameters)
    for n_epochs in (1, 3, 4):
        kill(killed_after, n_epochs, lambda: flow.fit(X))
    flow.fit(X)
    assert flow.loss_curve_ == whole.loss_curve_
    assert flow.validation_scores_ == whole.validation_scores_
    np.testing.assert_array_equal(flow.score_samples(X), whole.score_samples(X))
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("n_epochs", [3, 6])  # of the first fit, and of that to all rows
@pytest.mark.parametrize("n_targets", [1, 2])
def test_a_killed_regression_goes_on(n_targets, n_epochs, path, killed_after):
    X = table(200)
    y = X[:, :n_targets] ** 2
    whole = ConditionalFlow(max_iter=4, n_trees=5, random_state=0).fit(X, y)
    flow = ConditionalFlow(max_iter=4, n_trees=5, random_state=0, checkpoint_path=path)
    kill(killed_after, n_epochs, lambda: flow.fit(X, y))
    np.testing.assert_array_equal(flow.fit(X, y).score_samples(X, y), whole.score_samples(X, y))
    assert not path.exists()


def test_after_ctrl_c_the_next_fit_goes_on(path, monkeypatch, ctrl_c_raises):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    whole = RelativeGradientFlow(2, max_iter=6, random_state=0).fit(X)
    keep, kept = Checkpoint.keep, []

    def keep_and_interrupt(self, fit):
        keep(self, fit)
        kept.append(fit)
        if len(kept) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Checkpoint, "keep", keep_and_interrupt)
    with pytest.warns(ConvergenceWarning, match=r"Ctrl-C ended the fit.*fit.checkpoint stays"):
        flow.fit(X)
    assert np.isfinite(flow.score(X))
    assert path.exists()
    flow.fit(X)
    np.testing.assert_array_equal(flow.score_samples(X), whole.score_samples(X))
    assert not path.exists()


def test_a_fit_that_goes_on_from_a_flow_is_resumed(path, killed_after):
    X = table(300)
    whole = RelativeGradientFlow(2, max_iter=4, random_state=0, warm_start=True).fit(X)
    flow = RelativeGradientFlow(2, max_iter=4, random_state=0, warm_start=True).fit(X)
    flow.checkpoint_path = path
    kill(killed_after, 3, lambda: flow.fit(X))
    np.testing.assert_array_equal(flow.fit(X).score_samples(X), whole.fit(X).score_samples(X))


def test_the_seed_is_that_of_the_fit_that_was_killed(path, killed_after):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=5, checkpoint_path=path)
    kill(killed_after, 2, lambda: flow.fit(X))
    seed = Checkpoint(path)._seed
    kill(killed_after, 2, lambda: flow.fit(X))
    assert Checkpoint(path)._seed == seed
    flow.fit(X)
    other = RelativeGradientFlow(2, max_iter=5, checkpoint_path=path)
    kill(killed_after, 2, lambda: other.fit(X))
    assert Checkpoint(path)._seed != seed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_iter": 7}, "max_iter: 6 there, 7 here"),
        ({"optimizer": "sgd"}, "optimizer: 'relative' there, 'sgd' here"),
        ({}, "number of rows: 300 there, 299 here"),
    ],
)
def test_the_state_of_another_fit_is_refused_with_the_difference(
    change, message, path, killed_after
):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    kill(killed_after, 2, lambda: flow.fit(X))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        flow.set_params(**change).fit(X if change else X[1:])
    assert path.read_bytes() == before
    assert not hasattr(flow, "flow_")


def test_one_other_entry_makes_other_rows(path, killed_after):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    kill(killed_after, 2, lambda: flow.fit(X))
    X[17, 2] = np.nextafter(X[17, 2], np.inf)
    with pytest.raises(ValueError, match=r"differ in\nrows: \w+ there, \w+ here\nPass"):
        flow.fit(X)


def test_other_weights_are_refused(path, killed_after):
    X, weights = table(300), np.ones(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    kill(killed_after, 2, lambda: flow.fit(X))
    weights[3] = 2
    with pytest.raises(ValueError, match="weights, groups"):
        flow.fit(X, sample_weight=weights)


def test_what_does_not_change_a_fit_may_change(path, killed_after):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    kill(killed_after, 2, lambda: flow.fit(X))
    moved = path.with_name("elsewhere")
    path.rename(moved)
    flow.set_params(random_state=5, checkpoint_path=str(moved)).fit(X)
    whole = RelativeGradientFlow(2, max_iter=6, random_state=0).fit(X)
    np.testing.assert_array_equal(flow.score_samples(X), whole.score_samples(X))


def test_a_damaged_file_gives_way_to_the_one_before(path, killed_after):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    whole = RelativeGradientFlow(2, max_iter=6, random_state=0).fit(X)
    kill(killed_after, 3, lambda: flow.fit(X))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match=r"cannot be opened.*goes on from .*previous"):
        flow.fit(X)
    np.testing.assert_array_equal(flow.score_samples(X), whole.score_samples(X))


def test_between_two_renames_the_one_before_is_there(path, killed_after):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    kill(killed_after, 3, lambda: flow.fit(X))
    path.unlink()
    path.with_name(f".{path.name}.1-2.part").write_bytes(b"half of it")
    flow.fit(X)
    assert not list(path.parent.iterdir())


def test_two_damaged_files_are_an_error(path, killed_after):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    kill(killed_after, 1, lambda: flow.fit(X))
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="cannot be opened"):
        flow.fit(X)


def test_the_state_of_another_kind_of_fit_is_an_error(path, killed_after):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    kill(killed_after, 1, lambda: flow.fit(X))
    found = Checkpoint(path)
    found._state = {"current": {}}
    with pytest.raises(FileFormatError, match="does not hold the state of a fit"):
        found.resume(flow._plan(flow._rows(X, None), Checkpoint(None)).fit(0.0))


@pytest.mark.parametrize("facts", [{"rows": [1]}, {"rows": {}}, [3], 7])
def test_facts_that_are_none_are_an_error(facts, path):
    content = Encoder().encode({"facts": facts, "seed": 0, "fit": {}})
    path.write_bytes(b"".join(parts_of_file("checkpoint", content, {})))
    with pytest.raises(FileFormatError, match="does not hold the state of a fit"):
        Checkpoint(path)


def test_a_full_disk_ends_no_fit_and_keeps_the_file_before(path, killed_after, monkeypatch):
    X = table(300)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    whole = RelativeGradientFlow(2, max_iter=6, random_state=0).fit(X)
    kill(killed_after, 1, lambda: flow.fit(X))
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    kept = []
    remove = Checkpoint.remove
    monkeypatch.setattr(replacing.os, "fsync", full)
    monkeypatch.setattr(
        Checkpoint, "remove", lambda self: (kept.append(path.read_bytes()), remove(self))
    )
    with pytest.warns(
        RuntimeWarning, match=r"not written.*No space left.*The fit goes on"
    ) as seen:
        flow.fit(X)
    assert len(seen) == 1
    assert kept == [before]
    np.testing.assert_array_equal(flow.score_samples(X), whole.score_samples(X))


def test_two_fits_do_not_share_a_file(path, monkeypatch):
    keep = Checkpoint.keep

    def keep_beside_another(self, fit):
        self._seconds = 0.0
        keep(self, fit)
        path.write_bytes(b"that of another fit")

    monkeypatch.setattr(Checkpoint, "keep", keep_beside_another)
    flow = RelativeGradientFlow(2, max_iter=6, random_state=0, checkpoint_path=path)
    with pytest.warns(RuntimeWarning, match="another fit writes there, too") as seen:
        flow.fit(table(300))
    assert len(seen) == 1
    assert path.read_bytes() == b"that of another fit"


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (3, ValueError, "checkpoint_path"),
        ("", ValueError, "is a folder"),
        (os.path.join("nowhere", "file"), ValueError, "which is no folder"),
    ],
)
def test_a_wrong_path_is_named_before_the_fit(wrong, error, message):
    with pytest.raises(error, match=message):
        RelativeGradientFlow(checkpoint_path=wrong).fit(table(30))


def test_writing_takes_a_small_share_of_the_time(path, monkeypatch):
    clock, writes = [0.0], []

    def replace(path, parts, *, previous=None):
        writes.append(clock[0])
        clock[0] += 1.0
        path.write_bytes(b"".join(parts))

    class Epochs:
        def state_dict(self):
            return {}

    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(checkpoint, "replace_file", replace)
    kept = Checkpoint(path)
    for _ in range(100):
        clock[0] += 1.0
        kept.keep(Epochs())
    assert writes[0] == 1.0
    assert len(writes) / clock[0] <= checkpoint._SHARE_OF_TIME + 0.01


def test_nothing_is_written_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RelativeGradientFlow(2, max_iter=2, random_state=0).fit(table(60))
    assert not list(tmp_path.iterdir())
