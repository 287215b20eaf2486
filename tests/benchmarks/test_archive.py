"""The loaders of the archive, on small files of its format."""

import numpy as np
import pytest


def write_power(folder, X):
    (folder / "power").mkdir()
    np.save(folder / "power" / "data.npy", X)


def write_gas(folder, columns):
    pd = pytest.importorskip("pandas")
    (folder / "gas").mkdir()
    pd.DataFrame(columns).to_pickle(folder / "gas" / "ethylene_CO.pickle")


def write_hepmass(folder, train, test):
    (folder / "hepmass").mkdir()
    for name, X, more in (("1000_train.csv", train, ""), ("1000_test.csv", test, ",mass")):
        names = ",".join(f"f{i}" for i in range(train.shape[1] - 1))
        np.savetxt(
            folder / "hepmass" / name,
            X,
            delimiter=",",
            header=f"# label,{names}{more}",
            comments="",
        )


def write_miniboone(folder, X):
    (folder / "miniboone").mkdir()
    np.save(folder / "miniboone" / "data.npy", X)


def assert_scaled(X, ddof=0):
    np.testing.assert_allclose(X.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(X.std(0, ddof=ddof), 1, atol=1e-5)


def test_power(tmp_path):
    from _archive import load_power

    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(1000, 8)).astype(float)
    X[:, [1, 3]] = np.nan  # whoever keeps them will know
    X[:, 7] = np.arange(1000)
    write_power(tmp_path, X)
    parts = load_power(tmp_path)
    assert [part.shape for part in parts] == [(810, 6), (90, 6), (100, 6)]
    assert all(part.dtype == np.float32 for part in parts)
    assert_scaled(np.concatenate(parts[:2]))

    rows = np.concatenate(parts).astype(float)
    # The time of day, the last column, has no noise: it tells how the rows were shuffled.
    time = rows[:, 5] - rows[:, 5].min()
    order = np.rint(time / np.sort(time)[1]).astype(int)
    assert sorted(order) == list(range(1000))
    assert list(order) != list(range(1000))
    # Of two values, one apart, each is spread by the noise of its column.
    for column, source, noise in ((0, 0, 1e-3), (1, 2, 1e-2), (2, 4, 1), (3, 5, 1), (4, 6, 1)):
        low, high = (rows[X[order, source] == value, column] for value in (0, 1))
        assert np.ptp(low) / (high.mean() - low.mean()) == pytest.approx(noise, rel=0.1)


def test_gas(tmp_path):
    from _archive import load_gas

    rng = np.random.default_rng(0)
    base = 5 + 2 * rng.standard_normal((1000, 3))
    near = base + 0.01 * rng.standard_normal(base.shape)
    write_gas(
        tmp_path,
        {
            "Time": np.arange(1000.0),
            "Meth": np.ones(1000),
            "Eth": np.zeros(1000),
            "R0": base[:, 0],
            "R1": base[:, 1],
            "R2": near[:, 0],  # close to R0, which goes
            "R3": -near[:, 1],  # opposite to R1, and both stay
            "R4": base[:, 2],
            "R5": near[:, 2],
            "R6": 3 * near[:, 2],  # R4 and then R5 go
        },
    )
    parts = load_gas(tmp_path)
    rows = np.concatenate(parts)
    assert [len(part) for part in parts] == [810, 90, 100]
    expected = np.column_stack([base[:, 1], near[:, 0], -near[:, 1], near[:, 2]])
    expected = (expected - expected.mean(0)) / expected.std(0, ddof=1)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert rows.dtype == np.float32


def test_hepmass(tmp_path):
    pytest.importorskip("pandas")
    from _archive import load_hepmass

    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((200, 5)), rng.standard_normal((60, 6))
    train[:, 0] = test[:, 0] = 0
    train[:100, 0] = test[:30, 0] = 1  # the signal
    train[:6, 2] = -9.0  # the smallest value six times: goes
    train[:6, 3] = 9.0  # the largest one: stays
    train[:5, 4] = -9.0  # five times: stays
    train[100:, 1] = -9.0  # among the background only: stays
    write_hepmass(tmp_path, train, test)
    parts = load_hepmass(tmp_path)
    kept = [1, 3, 4]
    signal = train[:100, kept]
    mean, scale = signal.mean(0), signal.std(0, ddof=1)
    expected = [(X - mean) / scale for X in (signal[:90], signal[90:], test[:30, kept])]
    for part, rows in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part, rows, atol=1e-5)
        assert part.dtype == np.float32


def test_miniboone(tmp_path):
    from _archive import load_miniboone

    X = np.random.default_rng(0).exponential(size=(1007, 3))
    write_miniboone(tmp_path, X)
    train, validation, test = load_miniboone(tmp_path)
    assert [len(part) for part in (train, validation, test)] == [817, 90, 100]
    assert_scaled(np.concatenate([train, validation]))
    scale = X[:-100].std(0)
    np.testing.assert_allclose(test * scale + X[:-100].mean(0), X[-100:], rtol=1e-4)


def test_bsds300(tmp_path):
    h5py = pytest.importorskip("h5py")
    from _archive import load_archive_bsds300

    rng = np.random.default_rng(0)
    written = {
        name: rng.standard_normal((n, 63))
        for name, n in (("train", 30), ("validation", 20), ("test", 10))
    }
    (tmp_path / "BSDS300").mkdir()
    with h5py.File(tmp_path / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for name, X in written.items():
            file[name] = X
    for part, X in zip(load_archive_bsds300(tmp_path), written.values(), strict=True):
        np.testing.assert_array_equal(part, X.astype(np.float32))
