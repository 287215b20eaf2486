"""The public archive of data for density estimation, as Papamakarios et al. (2017) prepare it.

The folder holds `power/data.npy`, `gas/ethylene_CO.pickle`, `hepmass/1000_train.csv` and
`hepmass/1000_test.csv`, `miniboone/data.npy` and `BSDS300/BSDS300.hdf5`. Each loader returns
float32 rows to train on, to validate on and to test on; published log-likelihoods are those
of the last, in nats, and without any account of the scaling below.

Whatever looks odd here is part of the protocol: figures compare only if it is kept.
"""

from pathlib import Path

import numpy as np

__all__ = [
    "ARCHIVE",
    "load_archive_bsds300",
    "load_gas",
    "load_hepmass",
    "load_miniboone",
    "load_power",
]

_CORRELATION = 0.98
_MOST_REPEATS = 5


def load_power(folder):
    """Return POWER: electricity used in a household, 6 columns.

    Rows are shuffled. The reactive power and the current are dropped; the others, but for the
    time of day, are dequantised. Scaled by the rows that are not tested on.
    """
    X = np.load(Path(folder) / "power" / "data.npy")
    random = np.random.RandomState(42)
    random.shuffle(X)
    X = np.delete(X, [1, 3], axis=1)
    voltage = 0.01 * random.rand(len(X), 1)
    power = 0.001 * random.rand(len(X), 1)
    meters = random.rand(len(X), 3)
    X = X + np.hstack([power, voltage, meters, np.zeros((len(X), 1))])
    return _scaled(*_split(X))


def load_gas(folder):
    """Return GAS: chemical sensors in a mixture of ethylene and carbon monoxide, 8 columns.

    The time and both concentrations are dropped. So is, again and again, the first column whose
    correlation with another one exceeds 0.98. Scaled by all rows.
    """
    import pandas as pd

    frame = pd.read_pickle(Path(folder) / "gas" / "ethylene_CO.pickle")
    X = frame.drop(columns=["Meth", "Eth", "Time"]).to_numpy(dtype=float)
    close = np.corrcoef(X, rowvar=False) > _CORRELATION
    kept = np.arange(X.shape[1])
    while (crowded := close[np.ix_(kept, kept)].sum(1) > 1).any():
        kept = np.delete(kept, crowded.argmax())
    X = X[:, kept]
    return _split(((X - X.mean(0)) / X.std(0, ddof=1)).astype(np.float32))


def load_hepmass(folder):
    """Return HEPMASS: collisions of particles, 21 columns.

    Of the rows, those of the signal, whose label in the first column is 1. The last column of the
    test file, which the other one lacks, is dropped, and so are the columns whose *smallest*
    value in the training file occurs more than five times there. Scaled by the training file,
    whose last tenth validates.
    """
    import pandas as pd

    def signal(name):
        frame = pd.read_csv(Path(folder) / "hepmass" / name, index_col=False)
        X = frame.to_numpy(dtype=float)
        return X[X[:, 0] == 1, 1:]

    train, test = signal("1000_train.csv"), signal("1000_test.csv")[:, :-1]
    kept = (train == train.min(0)).sum(0) <= _MOST_REPEATS
    train, test = train[:, kept], test[:, kept]
    mean, scale = train.mean(0), train.std(0, ddof=1)
    train, test = (((X - mean) / scale).astype(np.float32) for X in (train, test))
    return *_hold_out(train), test


def load_miniboone(folder):
    """Return MINIBOONE: neutrinos, 43 columns. Scaled by the rows that are not tested on.

    The file of the archive has outliers and repeating columns removed already.
    """
    return _scaled(*_split(np.load(Path(folder) / "miniboone" / "data.npy")))


def load_archive_bsds300(folder):
    """Return BSDS300: patches of photographs, 63 columns, as the archive has them."""
    import h5py

    with h5py.File(Path(folder) / "BSDS300" / "BSDS300.hdf5") as file:
        return tuple(file[part][:].astype(np.float32) for part in ("train", "validation", "test"))


ARCHIVE = {
    "POWER": load_power,
    "GAS": load_gas,
    "HEPMASS": load_hepmass,
    "MINIBOONE": load_miniboone,
    "BSDS300": load_archive_bsds300,
}


def _hold_out(X):
    """Return all rows but the last tenth, and that."""
    return np.split(X, [len(X) - len(X) // 10])


def _split(X):
    """Return 81 %, 9 % and 10 % of the rows, in their order."""
    rest, test = _hold_out(X)
    return *_hold_out(rest), test


def _scaled(train, validation, test):
    both = np.concatenate([train, validation])
    mean, scale = both.mean(0), both.std(0)
    return tuple(((X - mean) / scale).astype(np.float32) for X in (train, validation, test))
