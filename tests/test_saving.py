"""Files of estimators: what is saved comes back, and nothing else does."""

import json
import pickle
import re
import sys
import warnings
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import safetensors
import skops.io
import torch
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

import skflow
from skflow import (
    ConditionalFlow,
    DensityEnsemble,
    DensityRatio,
    FlowClassifier,
    FlowImputer,
    FlowOutlierDetector,
    LeakyTanh,
    LogarithmicPool,
    NormalMixture,
    RelativeGradientFlow,
    TableFlow,
)
from skflow._sklearn.model_encoding import ModelDecoder, ModelEncoder
from skflow.exceptions import FileFormatError
from skflow.flow.pickling import _tensor
from skflow.preprocessing import DequantizationTransformer, LogitTransformer
from skflow.storage import replacing
from skflow.storage.files import FORMAT, parts_of_file, read_file

pytestmark = pytest.mark.usefixtures("quick_mixtures")

SAVED = sorted((Path(__file__).parent / "saved").glob("*.skflow"))
FAST = {"n_layers": 2, "max_iter": 2, "random_state": 0}


@pytest.fixture
def X(rng):
    return rng.normal(size=(60, 2))


def frame(rng, n_rows=60):
    kind = rng.choice(["a", "b"], size=n_rows)
    columns = {
        "kind": kind,
        "level": pd.Categorical(rng.choice(["lo", "hi"], n_rows), ["lo", "hi"], ordered=True),
        "size": rng.normal(size=n_rows) + (kind == "a"),
        "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.uniform(size=n_rows), unit="D"),
    }
    table = pd.DataFrame(columns)
    table.loc[::7, "size"] = np.nan
    return table


def polars_frame(rng, n_rows=60):
    return pl.DataFrame(
        {
            "level": pl.Series(rng.choice(["lo", "hi"], n_rows)).cast(pl.Enum(["lo", "hi"])),
            "size": rng.normal(size=n_rows),
            "day": pl.Series([date(2026, 1, 1)] * n_rows)
            + pl.Series([timedelta(days=int(d)) for d in rng.integers(0, 300, n_rows)]),
        }
    )


def of_rows(estimator):
    def make(X, rng):
        return estimator.fit(X), lambda fitted: fitted.score_samples(X)

    return make


def of_frames(estimator, frame, method="score_samples"):
    def make(X, rng):
        table = frame(rng)
        return estimator.fit(table), lambda fitted: getattr(fitted, method)(table)

    return make


def of_regression(n_targets):
    def make(X, rng):
        table, y = frame(rng)[["level", "size"]], rng.normal(size=(60, n_targets))
        flow = ConditionalFlow(max_iter=2, n_trees=5, random_state=0)
        return flow.fit(table, y), lambda fitted: fitted.score_samples(table, y)

    return make


def of_classes(X, rng):
    table = frame(rng)
    classifier = FlowClassifier(TableFlow(max_iter=2), random_state=0)
    classifier.fit(table[["level", "size"]], table["kind"])
    return classifier, lambda fitted: fitted.predict_proba(table[["level", "size"]])


def of_two_tables(X, rng):
    return DensityRatio(random_state=0).fit(X, X + 1), lambda fitted: fitted.score_samples(X)


def of_images(transformer):
    def make(X, rng):
        images = rng.integers(0, 256, size=(20, 3)) / 256
        return transformer.fit(images), lambda fitted: fitted.transform(images)

    return make


def of_tensors(X, rng):
    flow = RelativeGradientFlow(**FAST, base_distribution=torch.distributions.Laplace(0.0, 1.0))
    flow.fit(torch.from_numpy(X))
    return flow, lambda fitted: fitted.score_samples(torch.from_numpy(X))


FLOW = RelativeGradientFlow(**FAST)
PARTS = [("flow", FLOW), ("mixture", GaussianMixture(2)), ("kernels", KernelDensity())]
ESTIMATORS = {
    "flow": of_rows(FLOW),
    "flow from a mixture": of_rows(RelativeGradientFlow(max_iter=2, random_state=0)),
    "activations": of_rows(
        RelativeGradientFlow(
            **FAST, activation=LeakyTanh(), base_distribution=NormalMixture(2), coupling="affine"
        )
    ),
    "float64": of_rows(
        RelativeGradientFlow(**FAST, dtype="float64", base_distribution="student_t")
    ),
    "a generator": of_rows(
        RelativeGradientFlow(2, max_iter=2, random_state=np.random.RandomState(0))
    ),
    "tensors": of_tensors,
    "one target": of_regression(1),
    "two targets": of_regression(2),
    "ensemble": of_rows(DensityEnsemble(PARTS, random_state=0)),
    "pool": of_rows(LogarithmicPool(FLOW)),
    "detector": of_rows(FlowOutlierDetector(FLOW, random_state=0)),
    "ratio": of_two_tables,
    "table": of_frames(TableFlow(max_iter=2, random_state=0), frame),
    "table of polars": of_frames(TableFlow(max_iter=2, random_state=0), polars_frame),
    "imputer": of_frames(FlowImputer(TableFlow(max_iter=2, random_state=0)), frame, "transform"),
    "classifier": of_classes,
    "logit": of_images(LogitTransformer()),
    "dequantization": of_images(DequantizationTransformer(random_state=0)),
    "pipeline": of_rows(make_pipeline(FunctionTransformer(np.arcsinh), StandardScaler(), FLOW)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_saved_comes_back_bit_for_bit(name, X, rng, tmp_path):
    estimator, scores = ESTIMATORS[name](X, rng)
    before = scores(estimator)
    if hasattr(estimator, "save"):
        estimator.save(tmp_path / "model")
    else:
        skflow.save(estimator, tmp_path / "model")
    again = skflow.load(tmp_path / "model")
    assert type(again) is type(estimator)
    pd.testing.assert_frame_equal(pd.DataFrame(scores(again)), pd.DataFrame(before), rtol=0)
    skflow.save(again, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


@pytest.mark.parametrize("name", ["flow", "one target", "ensemble", "table", "pipeline"])
def test_skops_trusts_one_class_of_ours(name, X, rng):
    estimator, scores = ESTIMATORS[name](X, rng)
    dumped = skops.io.dumps(estimator)
    untrusted = skops.io.get_untrusted_types(data=dumped)
    flow = estimator[-1] if name == "pipeline" else estimator
    assert untrusted == [f"{type(flow).__module__}.{type(flow).__qualname__}"]
    again = skops.io.loads(dumped, trusted=untrusted)
    np.testing.assert_array_equal(scores(again), scores(estimator))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_files_of_all_formats_can_be_read(path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    scores = skflow.load(path).score_samples(np.array(expected["rows"]))
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-10)


def test_there_are_files_of_this_format():
    assert any(path.name.startswith(f"format_{FORMAT}_") for path in SAVED)


def test_other_programs_read_the_arrays(X, tmp_path):
    path = tmp_path / "model.safetensors"
    flow = FLOW.fit(X)
    flow.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        arrays = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    for parameter in flow.flow_.parameters():
        assert any(
            array.shape == parameter.shape and torch.equal(array, parameter) for array in arrays
        )


def test_a_pickle_of_another_version_warns(X, monkeypatch):
    flow = RelativeGradientFlow(**FAST).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(flow))
    monkeypatch.setattr("skflow._sklearn.persistence.__version__", "0.0.9")
    old = pickle.dumps(flow)
    monkeypatch.undo()
    with pytest.warns(
        InconsistentVersionWarning, match=r"RelativeGradientFlow from version 0\.0\.9"
    ):
        again = pickle.loads(old)
    np.testing.assert_array_equal(again.score_samples(X), flow.score_samples(X))


def test_a_pickle_from_a_gpu_opens_without_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tensor = _tensor(bytes(8), (2,), torch.float32, "cuda:0", False, False)
    assert tensor.device.type == "cpu"
    assert torch.equal(tensor, torch.zeros(2))


class Own(nn.Module):
    """A base distribution of a user."""

    def log_prob(self, value):
        return -0.5 * value.square() - 0.5 * np.log(2 * np.pi)

    def sample(self, shape):
        return torch.randn(shape)


def own_bijections(n_rows, n_features, **parameters):
    return skflow.default_bijections(n_rows, n_features, **parameters)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"base_distribution": Own()}, "Own"), ({"bijections": own_bijections}, "function")],
    ids=["a class", "a function"],
)
def test_what_is_the_users_own_is_named_and_not_saved(parameters, named, X, tmp_path):
    flow = RelativeGradientFlow(**FAST, **parameters).fit(X)
    with pytest.raises(TypeError, match=rf"RelativeGradientFlow.*{named}.*only a pickle can keep"):
        flow.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def path(X, tmp_path):
    path = tmp_path / "model"
    RelativeGradientFlow(**FAST).fit(X).save(path)
    return path


def rewritten(path, change, kind="model"):
    """Write a file anew with another content, and with a checksum that is right."""
    opened = read_file(path, "model")
    content, entries = opened.content, dict(opened.entries)
    content = change(content, entries) or content
    path.write_bytes(b"".join(parts_of_file(kind, content, entries)))


def test_every_flipped_bit_is_refused(path, rng):
    data = path.read_bytes()
    for at in [*range(0, 120), *rng.integers(0, len(data), 200)]:
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(FileFormatError):
            skflow.load(path)


@pytest.mark.parametrize("length", [0, 5, 8, 40, 200, -1])
def test_a_file_that_is_cut_off_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FileFormatError, match=r"model cannot be opened: .*(cut off|not fit)"):
        skflow.load(path)


def test_a_longer_file_is_refused(path):
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(FileFormatError, match="more bytes than it says"):
        skflow.load(path)


def test_a_newer_format_is_refused(path, monkeypatch):
    monkeypatch.setattr("skflow.storage.files.FORMAT", FORMAT + 1)
    rewritten(path, lambda content, entries: None)
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match=rf"format {FORMAT + 1}, .* up to format {FORMAT}"):
        skflow.load(path)


def test_a_file_of_another_kind_is_refused(path):
    rewritten(path, lambda content, entries: None, kind="checkpoint")
    with pytest.raises(FileFormatError, match="it is a 'checkpoint', and not a 'model'"):
        skflow.load(path)


def test_another_density_for_the_same_parameters_is_refused(path):
    def change(content, entries):
        content["constants"]["couplings.half_box"] = 4.0

    rewritten(path, change)
    with pytest.raises(FileFormatError, match="another density for the same parameters"):
        skflow.load(path)


@pytest.mark.parametrize(
    "forged",
    [
        {"object": ["os:system", {"dict": []}]},
        {"object": ["builtins:eval", {"dict": []}]},
        {"object": ["subprocess:Popen", {"dict": []}]},
        {"object": ["skflow._sklearn.persistence:replace_file", {"dict": []}]},
        {"object": ["sklearn.datasets._base:load_iris", {"dict": []}]},
        {"module": ["skflow.estimators.density:RelativeGradientFlow", {"dict": []}]},
        {"function": "os:system"},
        {"function": "load"},
        {"function": "skflow.storage.files:os.system"},
        {"type": "load"},
        {"same": 10**6},
        {"tensor": "array_1000"},
        {"array": ["array_0", "<f8", [2**40], "rows"]},
        {"array": ["array_0", "|O", [1], "rows"]},
        {"polars_type": ["DataFrame", []]},
        {"random_state": {"dict": [["bit_generator", "__builtins__"], ["state", 0]]}},
        {"unheard": 1},
        {"float": "1"},
        {"tuple": [], "list": []},
    ],
    ids=lambda forged: json.dumps(forged)[:40],
)
def test_a_file_cannot_ask_for_what_is_not_known(path, forged):
    def change(content, entries):
        content["estimator"]["object"][1]["dict"].append(["flow_", forged])

    rewritten(path, change)
    with pytest.raises(FileFormatError):
        skflow.load(path)


@pytest.mark.parametrize("argument", ["n_bins", "n_features"])
@pytest.mark.parametrize("factor", [2, 2**30])
def test_a_part_of_other_shapes_than_it_says_is_refused(argument, factor, path):
    def change(content, entries):
        said = re.compile(rf'\["{argument}", (\d+)\]')
        text, n_changed = said.subn(
            lambda m: f'["{argument}", {int(m[1]) * factor}]', json.dumps(content), count=1
        )
        assert n_changed
        return json.loads(text)

    rewritten(path, change)
    with pytest.raises(FileFormatError):
        skflow.load(path)


def test_a_file_of_no_estimator_is_refused(path):
    rewritten(path, lambda content, entries: content | {"estimator": {"dict": []}})
    with pytest.raises(FileFormatError, match="holds no estimator"):
        skflow.load(path)


def test_a_deep_header_is_refused(path):
    data = path.read_bytes()
    header = data[8:93] + b"," + b'"a":' + b"[" * 100_000
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(FileFormatError, match="header is damaged"):
        skflow.load(path)


def test_sizes_that_are_not_there_are_refused_before_they_are_allocated(path):
    data = path.read_bytes()
    path.write_bytes((2**62).to_bytes(8, "little") + data[8:])
    with pytest.raises(FileFormatError, match="cut off"):
        skflow.load(path)


@pytest.mark.parametrize("field", ["left_child", "feature"])
def test_a_tree_that_leads_out_of_itself_is_refused(field, X, rng, tmp_path):
    flow, _ = ESTIMATORS["one target"](X, rng)
    path = tmp_path / "model"
    flow.save(path)
    rewritten(path, lambda content, entries: _break_trees(entries, field, flow))
    with pytest.raises(FileFormatError, match=r"A (tree|node)"):
        skflow.load(path)


def _break_trees(entries, field, flow):
    """Send the first node of a forest's first tree elsewhere."""
    nodes = flow._context._forest.estimators_[0].tree_.__getstate__()["nodes"]
    (at,) = (k for k, e in entries.items() if bytes(e.data) == nodes.tobytes())
    changed = nodes.copy()
    changed[field][0] = 10_000
    entries[at].data[:] = memoryview(changed.tobytes())


def forge_child(model):
    model._predictors[0][0].nodes["left"][0] = 10_000


def forge_feature(model):
    model._predictors[0][0].nodes["feature_idx"][0] = 2


def forge_columns(model):
    model.n_features_in_ = 1


def forge_category(model):
    model._predictors[0][0].nodes["is_categorical"][0] = 1


@pytest.mark.parametrize("forge", [forge_child, forge_feature, forge_columns, forge_category])
def test_a_boosted_tree_that_leads_out_of_itself_is_refused(forge, rng):
    X = rng.normal(size=(60, 2))
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, X[:, 1] > 0)
    forge(model)
    encoder = ModelEncoder()
    described = encoder.encode(model, "model")
    with pytest.raises(FileFormatError, match=r"A (tree|node) .* not there"):
        ModelDecoder(encoder.entries).decode(described)


def test_a_forest_of_fewer_columns_than_its_trees_is_refused(rng):
    X = rng.normal(size=(60, 2))
    model = ExtraTreesRegressor(3, max_depth=2).fit(X, X[:, 1])
    model.n_features_in_ = 1
    encoder = ModelEncoder()
    described = encoder.encode(model, "model")
    with pytest.raises(FileFormatError, match="columns that are not there"):
        ModelDecoder(encoder.entries).decode(described)


def test_boosted_trees_with_categories_come_back(rng):
    X = np.column_stack([rng.integers(0, 5, 80), rng.normal(size=80)])
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=[0])
    model.fit(X, X[:, 0] % 2)
    encoder = ModelEncoder()
    described = encoder.encode(model, "model")
    again = ModelDecoder(encoder.entries).decode(described)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            3,
            -(2**70),
            0.1,
            float("inf"),
            "a\ud800b",
            b"bytes",
            1 + 2j,
            slice(1, None),
        ),
        *((1, (2, "x")), [1, [2]], {"a": {1: 2}, (3, 4): None}, {1, 2}, frozenset({"a"})),
        *(date(2026, 1, 2), timedelta(days=1, seconds=2), Decimal("1.50"), np.float32, bool),
        *(np.float32(1.5), np.datetime64("2026-01-01"), np.dtype("<M8[us]"), np.sin),
        *(torch.float32, torch.device("cpu"), torch.Size([2, 3])),
        *(pd.StringDtype(), pd.Int64Dtype(), pd.CategoricalDtype([1, 2], ordered=True)),
        *(pl.Float32(), pl.Datetime("us", "UTC"), pl.Enum(["a", "b"])),
    ],
    ids=repr,
)
def test_plain_values_come_back(value):
    encoder = ModelEncoder()
    described = json.loads(json.dumps(encoder.encode(value, "value")))
    again = ModelDecoder(encoder.entries).decode(described)
    assert type(again) is type(value)
    assert again == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([[True, False]]),
        np.array(["a", "bcd"]),
        np.array([("x", 1.5)], dtype=[("name", "U3"), ("value", "<f4")]),
        np.array([None, "a", 1.5, (2, 3)], dtype=object),
        np.empty((0, 3), np.float32),
        np.array(["2026-01-01"], "M8[D]"),
        np.arange(4, dtype=">i4"),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_come_back(array):
    encoder = ModelEncoder()
    described = json.loads(json.dumps(encoder.encode(array, "array")))
    again = ModelDecoder(encoder.entries).decode(described)
    assert again.dtype == array.dtype
    assert again.flags.c_contiguous == array.flags.c_contiguous
    np.testing.assert_array_equal(again, array)


def test_what_is_shared_and_what_refers_to_itself_stay_so():
    tensor, ring = torch.ones(2), []
    ring.append(ring)
    encoder = ModelEncoder()
    described = encoder.encode({"one": tensor, "two": [tensor], "ring": ring}, "value")
    again = ModelDecoder(encoder.entries).decode(described)
    assert again["one"] is again["two"][0]
    assert again["ring"][0] is again["ring"]


@pytest.mark.parametrize("class_name", ["MT19937", "PCG64", "Philox"])
def test_generators_go_on_where_they_were(class_name):
    generator = np.random.Generator(getattr(np.random, class_name)(3))
    generator.normal(size=5)
    encoder = ModelEncoder()
    described = json.loads(json.dumps(encoder.encode(generator, "generator")))
    again = ModelDecoder(encoder.entries).decode(described)
    np.testing.assert_array_equal(again.normal(size=5), generator.normal(size=5))


def test_a_full_disk_leaves_the_file_that_was_there(path, X, monkeypatch):
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replacing.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        RelativeGradientFlow(**FAST).fit(X).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        skflow.load(tmp_path / "model")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
def test_a_pipe_is_no_file(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        skflow.load(tmp_path / "pipe")
