"""Data larger than memory: memory maps, datasets of pyarrow and arrays of Dask."""

import pickle
from copy import copy

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skflow import FlowOutlierDetector, RelativeGradientFlow
from skflow._sklearn import room, sources
from skflow.exceptions import ColumnWarning
from skflow.training import streams
from skflow.training.checkpoint import Checkpoint

pd = pytest.importorskip("pandas")
da = pytest.importorskip("dask.array")
pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")

NAMES = ["a", "b", "c", "d"]
N_ROWS = 3000
LIGHT = {"n_layers": 2, "activation": "leaky_tanh", "coupling": None, "random_state": 0}


def light(**parameters):
    return RelativeGradientFlow(**LIGHT | {"max_iter": 3} | parameters)


@pytest.fixture
def X(rng):
    return (rng.normal(size=(N_ROWS, 4)) @ rng.normal(size=(4, 4))).astype(np.float32)


def memory_map(X, folder):
    np.save(folder / "rows.npy", X)
    return np.load(folder / "rows.npy", mmap_mode="r")


def table(X):
    return pa.table({name: column for name, column in zip(NAMES, X.T, strict=False)})


def parquet(X, folder):
    for k, part in enumerate(np.array_split(X, 4)):
        pq.write_table(table(part), folder / f"part-{k}.parquet", row_group_size=300)
    return ds.dataset(folder, format="parquet")


def arrow(X, folder):
    for k, part in enumerate(np.array_split(X, 4)):
        feather.write_feather(table(part), folder / f"part-{k}.feather", chunksize=200)
    return ds.dataset(folder, format="feather")


def dask(X, folder):
    return da.from_array(X, chunks=(400, 3))


DATASETS = [parquet, arrow]
each_source = pytest.mark.parametrize("source", [memory_map, *DATASETS, dask])


def in_memory(X, source):
    """Return rows in memory with the feature names that a source has."""
    return pd.DataFrame(X, columns=NAMES[: X.shape[1]]) if source in DATASETS else X


@pytest.fixture(scope="module")
def fitted_as():
    """Make a flow that was fitted to rows with the feature names of a source."""
    X = np.random.default_rng(0).normal(size=(N_ROWS, 4)).astype(np.float32)
    flows = {names: light().fit(in_memory(X, names)) for names in (parquet, memory_map)}
    return lambda source: flows[parquet if source in DATASETS else memory_map]


@pytest.fixture
def fitted(fitted_as):
    return fitted_as(memory_map)


@pytest.fixture
def all_is_large(monkeypatch):
    """Read data block by block that are small, in many blocks and windows."""
    monkeypatch.setattr(sources, "_KEPT_BYTES", 0)
    monkeypatch.setattr(sources, "_SHARE_OF_MEMORY", 0)
    monkeypatch.setattr(sources, "_PIECE_BYTES", 50 * 16)
    monkeypatch.setattr(streams, "_WINDOW_BYTES", 1000 * 16)


@each_source
def test_small_data_are_fitted_as_the_array_is_with_the_same_bits(X, source, tmp_path):
    array = in_memory(X, source)
    one, other = light().fit(array), light().fit(source(X, tmp_path))
    np.testing.assert_array_equal(one.score_samples(array), other.score_samples(array))


@each_source
def test_a_fit_in_blocks_is_as_good_as_one_in_memory(all_is_large, rng, source, tmp_path):
    covariance = np.array([[2.0, 1.2, 0.3], [1.2, 1.0, 0.0], [0.3, 0.0, 0.5]])
    truth = multivariate_normal([1.0, -2.0, 5.0], covariance)
    X = truth.rvs(8000, random_state=rng).astype(np.float32)
    new = truth.rvs(4000, random_state=rng).astype(np.float32)
    # Sorted, as files often are: windows must mix what lies far apart.
    X = X[X[:, 0].argsort()]
    parameters = {"n_layers": 1, "max_iter": 20, "base_distribution": "logistic"}
    parameters |= {"activation": "smooth_leaky_relu"}
    one, other = light(**parameters), light(**parameters)
    one.fit(in_memory(X, source))
    other.fit(source(X, tmp_path))
    new = in_memory(new, source)
    assert other.score(new) == pytest.approx(one.score(new), abs=0.03)
    assert (other.batch_size_, other.n_iter_) == (one.batch_size_, one.n_iter_)
    assert other.n_samples_seen_ == 8000


@pytest.mark.usefixtures("quick_mixtures", "all_is_large")
def test_the_default_reads_blocks(rng, tmp_path):
    X = rng.gamma(2, size=(2500, 2)).astype(np.float32)
    flow, array = (RelativeGradientFlow(max_iter=3, random_state=0) for _ in range(2))
    flow.fit(memory_map(X, tmp_path))
    assert flow.score(X) == pytest.approx(array.fit(X).score(X), abs=0.05)


@pytest.mark.usefixtures("quick_mixtures", "all_is_large")
def test_few_rows_in_blocks_are_fitted_again_as_a_whole(rng, tmp_path):
    X = rng.gamma(2, size=(300, 2)).astype(np.float32)
    flow = RelativeGradientFlow(max_iter=2, random_state=0).fit(memory_map(X, tmp_path))
    assert len(flow.candidates_) > 1
    assert flow.n_samples_seen_ == 300


@each_source
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_and_latents_are_those_of_the_array(
    all_is_large, fitted_as, X, source, dtype, tmp_path
):
    fitted, X = fitted_as(source), X.astype(dtype)
    large, array = source(X, tmp_path), in_memory(X, source)
    for method in ("score_samples", "log_abs_det_jacobian"):
        own = np.asarray(getattr(fitted, method)(large))
        np.testing.assert_array_equal(own, getattr(fitted, method)(array))
        assert own.dtype == dtype
    latents = fitted.transform(large)
    if source in DATASETS:
        latents = latents.read_all().to_pandas().to_numpy()
    np.testing.assert_array_equal(np.asarray(latents), fitted.transform(array))
    assert fitted.score(large) == fitted.score(array)


def test_whole_numbers_and_booleans_are_read_as_float64(all_is_large, fitted_as, rng, tmp_path):
    fitted = fitted_as(parquet)
    whole = rng.integers(-3, 3, size=(N_ROWS, 3))
    data = pa.table([*whole.T, whole[:, 0] > 0], names=NAMES)
    pq.write_table(data, tmp_path / "rows.parquet")
    X = np.column_stack([whole, whole[:, 0] > 0]).astype(np.float64)
    scores = fitted.score_samples(ds.dataset(tmp_path / "rows.parquet"))
    np.testing.assert_array_equal(scores, fitted.score_samples(in_memory(X, parquet)))
    mapped = memory_map(whole.astype(np.int8), tmp_path)
    flow = light().fit(whole[:, :3] + rng.normal(size=(N_ROWS, 3)))
    np.testing.assert_array_equal(flow.score_samples(mapped), flow.score_samples(X[:, :3]))


def test_what_dask_gets_is_not_computed_yet(fitted, X):
    computed = []

    def block(rows):
        computed.append(len(rows))
        return rows

    lazy = da.from_array(X, chunks=(1000, 4)).map_blocks(block, dtype=X.dtype, meta=X[:0])
    scores, latents = fitted.score_samples(lazy), fitted.transform(lazy)
    assert computed == []
    assert isinstance(scores, da.Array)
    assert (scores.shape, scores.chunks, scores.dtype) == ((3000,), ((1000,) * 3,), X.dtype)
    assert (latents.shape, latents.chunks, latents.dtype) == (X.shape, lazy.chunks, X.dtype)
    np.testing.assert_array_equal(scores[:10].compute(), fitted.score_samples(X[:10]))
    assert computed == [1000]


def test_what_dask_gets_is_that_of_the_fit_that_was(X):
    flow = light().fit(X)
    before, lazy = flow.score_samples(X), flow.score_samples(da.from_array(X, chunks=700))
    flow.fit(3 * X)
    np.testing.assert_array_equal(lazy, before)


def test_dask_may_have_empty_chunks_and_chunks_of_unknown_sizes(fitted, X):
    lazy = da.from_array(X, chunks=((0, 1000, 0, 2000), 4))
    np.testing.assert_array_equal(fitted.score_samples(lazy), fitted.score_samples(X))
    some = lazy[lazy[:, 0] > 0]
    few = X[X[:, 0] > 0]
    np.testing.assert_array_equal(fitted.transform(some).compute(), fitted.transform(few))
    with pytest.raises(ValueError, match=r"compute_chunk_sizes\(\)"):
        light().fit(some)
    light().fit(some.compute_chunk_sizes())


def test_latents_of_a_dataset_can_be_written_batch_by_batch(all_is_large, fitted_as, X, tmp_path):
    fitted = fitted_as(parquet)
    (tmp_path / "rows").mkdir()
    latents = fitted.transform(parquet(X, tmp_path / "rows"))
    assert isinstance(latents, pa.RecordBatchReader)
    assert latents.schema.names == list(fitted.get_feature_names_out())
    ds.write_dataset(latents, tmp_path / "latents", format="parquet")
    written = ds.dataset(tmp_path / "latents").to_table().to_pandas().to_numpy()
    np.testing.assert_array_equal(written, fitted.transform(in_memory(X, parquet)))


@pytest.mark.parametrize("source", [parquet, dask])
def test_frames_of_latents_are_in_memory(all_is_large, fitted_as, X, source, tmp_path):
    flow = copy(fitted_as(source)).set_output(transform="pandas")
    frame = flow.transform(source(X, tmp_path))
    pd.testing.assert_frame_equal(frame, flow.transform(in_memory(X, source)))


def test_other_estimators_take_no_dataset(X):
    with pytest.raises(TypeError, match=r"X\.to_table\(\)"):
        FlowOutlierDetector().fit(ds.dataset(table(X)))


def test_names_come_from_the_schema(all_is_large, X, tmp_path):
    flow = light().fit(parquet(X, tmp_path))
    assert list(flow.feature_names_in_) == NAMES
    assert flow.n_features_in_ == 4
    renamed = ds.dataset(table(X).rename_columns(["a", "b", "c", "other"]))
    with pytest.raises(ValueError, match=r"feature names(.|\n)*other"):
        flow.score_samples(renamed)


@each_source
def test_other_columns_are_refused_as_of_an_array(all_is_large, fitted_as, X, source, tmp_path):
    fitted, X = fitted_as(source), X[:, :3].copy()
    message = "now missing" if source in DATASETS else "X has 3 features, but"
    with pytest.raises(ValueError, match=message) as of_array:
        fitted.score_samples(in_memory(X, source))
    with pytest.raises(ValueError, match=message) as of_source:
        fitted.score_samples(source(X, tmp_path))
    assert str(of_source.value) == str(of_array.value)


@each_source
@pytest.mark.parametrize("entry", [np.nan, np.inf])
def test_an_entry_that_is_no_number_is_refused_wherever_it_is(
    all_is_large, X, source, entry, tmp_path
):
    flow = light().fit(in_memory(X, source))
    attributes = pickle.dumps(flow.__dict__)
    X[1700, 2] = entry
    with pytest.raises(ValueError, match="Input X contains") as of_array:
        light().fit(X)
    data = source(X, tmp_path)
    with pytest.raises(ValueError, match="Input X contains") as of_source:
        flow.fit(data)
    assert str(of_source.value) == str(of_array.value)
    assert pickle.dumps(flow.__dict__) == attributes
    with pytest.raises(ValueError, match="Input X contains") as of_scores:
        np.asarray(flow.score_samples(data))
    assert str(of_scores.value) == str(of_array.value)


def test_missing_entries_of_a_dataset_are_nan(all_is_large, fitted_as, X, tmp_path):
    data = table(X).set_column(0, "a", pa.array([None, *range(N_ROWS - 1)]))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted_as(parquet).score_samples(ds.dataset(data))


def test_columns_that_hold_no_numbers_are_refused(X):
    data = table(X).set_column(1, "b", pa.array(["one"] * N_ROWS))
    with pytest.raises(ValueError, match=r"Columns of X do not hold numbers: 'b' \(string\)"):
        light().fit(ds.dataset(data))


@pytest.mark.parametrize("method", ["fit", "score_samples"])
def test_a_path_is_refused_and_the_remedy_is_named(fitted, tmp_path, method):
    for path in (tmp_path, str(tmp_path)):
        with pytest.raises(TypeError, match=r"pyarrow\.dataset\.dataset\(path"):
            getattr(fitted, method)(path)


def test_data_without_rows_are_refused(all_is_large, X, tmp_path):
    for source in (dask, parquet):
        with pytest.raises(ValueError, match="0 sample"):
            light().fit(source(X[:0], tmp_path))


def test_partial_fit_takes_some_rows_at_a_time(all_is_large, X, tmp_path):
    with pytest.raises(TypeError, match="pass some of its rows at a time"):
        light().partial_fit(dask(X, tmp_path))


@each_source
def test_rows_count_by_their_weight(all_is_large, X, source, tmp_path):
    weights = np.arange(N_ROWS) % 3 / 2
    X[weights == 0] += 1000  # rows that count for none
    array = in_memory(X, source)
    one = light(max_iter=10).fit(array, sample_weight=weights)
    other = light(max_iter=10).fit(source(X, tmp_path), sample_weight=weights)
    scores = [flow.score(array, sample_weight=weights) for flow in (one, other)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)
    assert other.n_samples_seen_ == 2000
    with pytest.raises(ValueError, match=r"sample_weight.*shape"):
        light().fit(source(X, tmp_path), sample_weight=weights[1:])


def test_whole_groups_are_held_out_and_one_alone_is_refused(all_is_large, X, tmp_path):
    data = memory_map(X, tmp_path)
    light().fit(data, groups=np.arange(N_ROWS) // 100)
    with pytest.raises(ValueError, match="groups must have two values at least"):
        light().fit(data, groups=np.zeros(N_ROWS))


def test_a_fit_may_hold_nothing_out_and_go_on(all_is_large, X, tmp_path):
    data = memory_map(X, tmp_path)
    flow = light(early_stopping=False, warm_start=True).fit(data)
    assert flow.validation_scores_ == []
    assert len(flow.fit(data).loss_curve_) == 6


def test_constant_columns_are_named(all_is_large, X, tmp_path):
    X[:, 1] = 1
    with pytest.warns(ColumnWarning, match="Constant, .* column 1"):
        flow = light().fit(memory_map(X, tmp_path))
    assert np.isfinite(flow.score(X))


def test_the_same_seed_gives_the_same_bits(all_is_large, X, tmp_path):
    data = memory_map(X, tmp_path)
    one, two, other = (light(random_state=seed).fit(data).score_samples(X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_fit_that_was_killed_goes_on_with_the_same_bits(all_is_large, monkeypatch, X, tmp_path):
    class Killed(BaseException):
        pass

    def die(self, fit):
        keep(self, fit)
        raise Killed

    data, keep = memory_map(X, tmp_path), Checkpoint.keep
    flow = light(checkpoint_path=tmp_path / "fit.checkpoint")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "keep", die)
        with pytest.raises(Killed):
            flow.fit(data)
    with pytest.raises(ValueError, match="another fit"):
        flow.fit(memory_map(X + 1, tmp_path))
    scores = flow.fit(memory_map(X, tmp_path)).score_samples(X)
    np.testing.assert_array_equal(scores, light().fit(data).score_samples(X))


def test_a_fit_ends_in_time(all_is_large, X, tmp_path):
    flow = light(max_iter=10**6, max_time=0.3).fit(memory_map(X, tmp_path))
    assert flow.n_iter_ >= 1
    assert torch.isfinite(torch.as_tensor(flow.score(X)))


def test_a_source_that_lost_rows_meanwhile_is_refused(X, tmp_path):
    source = sources.source_of(light(), parquet(X, tmp_path), fitting=True)
    pq.write_table(table(X[:1]), tmp_path / "part-0.parquet")
    with pytest.raises((RuntimeError, OSError)):
        source.in_memory()


def test_a_map_is_large_by_the_memory_of_the_machine_or_of_its_container(
    monkeypatch, fitted, X, tmp_path
):
    data = memory_map(X, tmp_path)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(room, "_LIMITS", (tmp_path / "missing", limit))
    for content, is_large in (("max", False), (str(3 * X.nbytes), False), ("1000", True)):
        limit.write_text(content, encoding="ascii")
        assert (sources.source_of(fitted, data) is not None) == is_large
    assert sources.source_of(fitted, X) is None
    assert sources.source_of(fitted, data[X[:, 0] > 0]) is None
