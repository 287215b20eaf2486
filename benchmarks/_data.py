"""The data of the benchmarks: scikit-learn's, and larger ones from a folder outside the package.

Whatever is random is determined by `seed`. Rows from the folder are float32. It holds

- `mnist/train-images-idx3-ubyte.gz`, from the MNIST database;
- `bsds300/train/*.jpg`, the training images of the Berkeley Segmentation Dataset;
- `tabular/*.npz` and `outliers/*.npz`, tables of the ADBench collection, each with its rows in an
  array `X`, and in `y` whether a row is an outlier.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import expit, logit
from sklearn import datasets
from sklearn.model_selection import train_test_split

__all__ = [
    *("BUNDLED", "OUTLIER_TABLES", "TABLES", "images_of_patches", "load_bsds300"),
    *("load_bundled", "load_labelled_table", "load_mnist"),
    *("load_table", "redraw_mnist"),
]

TABLES = (
    *("annthyroid", "cover", "ionosphere", "landsat", "magic_gamma", "musk", "optdigits"),
    *("pageblocks", "pendigits", "spambase", "vowels", "waveform", "wilt"),
)
# Smaller ones, for the search of outliers alone.
OUTLIER_TABLES = (
    *("breastw", "cardiotocography", "glass", "hepatitis", "internetads", "pima", "stamps"),
    *("vertebral", "wpbc", "yeast"),
)

BUNDLED = {
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "iris": datasets.load_iris,
    "digits": datasets.load_digits,
}

_SQUEEZE = 1e-6  # keeps the logit of a pixel finite
_SIDE = 8  # of a patch
_N_IMAGES = 180  # to train on
_NOISE = 0.01  # of a table's column, in standard deviations


def load_bundled(name, seed):
    """Return four fifths of the rows of one of scikit-learn's own sets, and the others.

    Digits are dequantised; all else is as it is.

    Parameters
    ----------
    name : str
        One of `BUNDLED`.
    seed : int
        Of the split, and of the noise.

    Returns
    -------
    train, test : arrays of D columns
    """
    X = BUNDLED[name]().data.astype(float)
    if name == "digits":
        X += np.random.default_rng(seed).uniform(size=X.shape)
    return train_test_split(X, test_size=0.2, random_state=seed)


def load_mnist(data_dir, seed=0):
    """Return 50,000 training and 10,000 validation images, dequantised, as logits.

    Parameters
    ----------
    data_dir : path
    seed : int, default=0

    Returns
    -------
    train : array of shape (50000, 784)
    validation : array of shape (10000, 784)
    """
    path = Path(data_dir) / "mnist" / "train-images-idx3-ubyte.gz"
    with gzip.open(path) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    rows = _dequantized_logits(pixels, np.random.default_rng(seed))
    return rows[:50000], rows[50000:]


def redraw_mnist(rows, n_draws, seed=0):
    """Return the same images `n_draws` times: as they are, and with other noise.

    Parameters
    ----------
    rows : array of shape (N, 784)
        Of :func:`load_mnist`.
    n_draws : int
    seed : int, default=0

    Returns
    -------
    rows : array of shape (n_draws * N, 784)
    """
    rng = np.random.default_rng((seed, 1))
    pixels = np.floor((expit(rows.astype(float)) - _SQUEEZE) / (1 - 2 * _SQUEEZE) * 256)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    redrawn = np.empty((n_draws, *rows.shape), np.float32)
    redrawn[0] = rows
    for draw in redrawn[1:]:
        draw[:] = _dequantized_logits(pixels, rng)
    return redrawn.reshape(-1, rows.shape[1])


def load_bsds300(data_dir, patches_per_image=5500, seed=0):
    """Return random grey 8×8 patches of 180 training and 20 validation images.

    Patches are dequantised and have their mean subtracted, after which the last of the 64
    pixels follows from the others and is dropped.

    Parameters
    ----------
    data_dir : path
    patches_per_image : int, default=5500
        The default makes 990,000 training patches.
    seed : int, default=0

    Returns
    -------
    train : array of shape (180 * patches_per_image, 63)
    validation : array of shape (20 * patches_per_image, 63)
    """
    rng = np.random.default_rng(seed)
    paths = sorted((Path(data_dir) / "bsds300" / "train").glob("*.jpg"))
    rows = [_patches(path, patches_per_image, rng) for path in paths]
    return np.concatenate(rows[:_N_IMAGES]), np.concatenate(rows[_N_IMAGES:])


def images_of_patches(train):
    """Return the number of the image of each training patch of :func:`load_bsds300`."""
    return np.arange(len(train)) // (len(train) // _N_IMAGES)


def load_table(data_dir, name, seed=0):
    """Return four fifths of a table's shuffled rows, and a tenth twice, without its atoms.

    Constant columns are dropped, integers are dequantised, and each column has noise of a
    hundredth of its standard deviation added: where a value repeats, likelihood is unbounded.

    Parameters
    ----------
    data_dir : path
    name : str
    seed : int, default=0

    Returns
    -------
    train, validation, test : arrays of D columns
    """
    X, _ = _read_table(data_dir, name)
    rng = np.random.default_rng(seed)
    X = _without_atoms(rng.permutation(X), rng).astype(np.float32)
    tenth = len(X) // 10
    return np.split(X, [len(X) - 2 * tenth, len(X) - tenth])


def load_labelled_table(data_dir, name, seed=0):
    """Return a table's rows as they are, without its atoms, and which are outliers.

    Parameters
    ----------
    data_dir : path
    name : str
    seed : int, default=0
        Of the noise.

    Returns
    -------
    X : array of shape (n_samples, n_features)
        Without constant columns.
    smooth : array of shape (n_samples, n_features)
        With the noise of :func:`load_table`.
    y : array of bool of shape (n_samples,)
    """
    X, y = _read_table(data_dir, name)
    return X, _without_atoms(X, np.random.default_rng(seed)), y


def _read_table(data_dir, name):
    folder = "outliers" if name in OUTLIER_TABLES else "tabular"
    with np.load(Path(data_dir) / folder / f"{name}.npz") as file:
        X, y = file["X"].astype(float), file["y"] != 0
    return X[:, np.ptp(X, axis=0) > 0], y


def _without_atoms(X, rng):
    integers = (X.round() == X).all(0)
    X = X.copy()
    X[:, integers] += rng.uniform(size=(len(X), integers.sum()))
    return X + _NOISE * X.std(0) * rng.standard_normal(X.shape)


def _dequantized_logits(pixels, rng):
    noise = rng.uniform(size=pixels.shape)
    return logit(_SQUEEZE + (1 - 2 * _SQUEEZE) * (pixels + noise) / 256).astype(np.float32)


def _patches(path, n_patches, rng):
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))  # 0.299 R + 0.587 G + 0.114 B, rounded
    windows = np.lib.stride_tricks.sliding_window_view(grey, (_SIDE, _SIDE))
    top, left = (rng.integers(n, size=n_patches) for n in windows.shape[:2])
    pixels = windows[top, left].reshape(n_patches, -1)
    patches = (pixels + rng.uniform(size=pixels.shape)) / 256
    patches -= patches.mean(1, keepdims=True)
    return patches[:, :-1].astype(np.float32)
