"""Saving estimators, in files that run nothing when they are opened, and in pickles."""

from __future__ import annotations

import copyreg
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from skflow._sklearn.model_encoding import ModelDecoder, ModelEncoder
from skflow._version import __version__
from skflow.exceptions import FileFormatError
from skflow.flow.constants import density_constants
from skflow.storage.files import Opened, parts_of_file, read_bytes, read_file
from skflow.storage.replacing import replace_file

__all__ = ["PersistenceMixin", "load", "save"]

_KIND = "model"


class PersistenceMixin:
    """Save an estimator, by itself and in the files of others.

    What :mod:`!pickle` keeps has the version of skflow, and a warning comes if that is another one
    when it is read. What :mod:`!skops` keeps is what :meth:`save` writes.
    """

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a file that runs nothing when it is opened.

        :func:`skflow.load` reads it.

        Parameters
        ----------
        path : str or path-like
            Where the file is to be. One that is there is replaced once the new one is complete.

        Raises
        ------
        TypeError
            If the estimator has a part that is not of skflow, scikit-learn, NumPy or PyTorch, such
            as a function of your own.
        OSError
            If the file cannot be written. One that was there stays.
        """
        save(self, path)

    def _attributes(self) -> dict[str, Any]:
        """Return the attributes that make the estimator again."""
        attributes: Any = super().__getstate__()
        return attributes

    def _set_attributes(self, attributes: dict[str, Any]) -> None:
        """Take what :meth:`_attributes` returned."""
        super().__setstate__(attributes)  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        state = self._attributes() | {"_skflow_version": __version__}
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        # What is called by others than pickle, skops above all, wants plain data.
        return {"model": b"".join(_parts(self._attributes()))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if set(state) == {"model"}:
            self._set_attributes(_opened(read_bytes(state["model"], _KIND)))
            return
        attributes = dict(state)
        version = attributes.pop("_skflow_version", "0.1.0 or older")
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=f"{__version__} of skflow",
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        self._set_attributes(attributes)


def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Write an estimator to a file that runs nothing when it is opened.

    It is for all estimators of skflow, which have it as a method, and for those of scikit-learn
    that hold some, such as a Pipeline.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    path : str or path-like
        Where the file is to be. One that is there is replaced once the new one is complete.

    Raises
    ------
    TypeError
        If the estimator has a part that is not of skflow, scikit-learn, NumPy or PyTorch, such as
        a function of your own.
    OSError
        If the file cannot be written. One that was there stays.

    See Also
    --------
    load : Reads the file.

    Notes
    -----
    The file is one of safetensors. Its header has a checksum, the version of the format, and all
    that is no array, as JSON. The user guide says :ref:`how it compares with a pickle <saving>`.

    Cost: the file is as large as the arrays. No further copy of them is made in memory.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import skflow
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> flow = skflow.RelativeGradientFlow(n_layers=2, max_iter=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "flow.skflow"
    ...     skflow.save(flow, path)
    ...     again = skflow.load(path)
    >>> bool((again.score_samples(X) == flow.score_samples(X)).all())
    True
    """
    replace_file(Path(path), _parts(estimator))


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that :func:`save` wrote.

    Nothing in the file is run, whoever wrote it. Arrays take no more memory than the file has
    bytes. The file can name the classes of skflow and of scikit-learn, and set the attributes of
    their objects. So it can hold a model that is wrong, and cannot do anything else.

    Parameters
    ----------
    path : str or path-like
        Where the file is.

    Returns
    -------
    estimator : estimator
        On the CPU. Its scores are those of the one that was saved.

    Raises
    ------
    FileFormatError
        If the file is cut off or altered, of a newer format, or asks for what is not known to be
        harmless.
    OSError
        If the file cannot be read.

    Warns
    -----
    InconsistentVersionWarning
        If the estimator has parts of scikit-learn, and another version of it wrote the file.

    See Also
    --------
    save : Writes the file, with an example.
    """
    path = Path(path)
    estimator = _opened(read_file(path, _KIND))
    if not hasattr(estimator, "get_params"):
        raise FileFormatError(f"{path.name} holds no estimator.")
    return estimator


def _parts(value: Any) -> Any:
    """Return the bytes of a file, part by part."""
    encoder = ModelEncoder()
    content = {
        "versions": {
            "skflow": __version__,
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "constants": density_constants(),
        "estimator": encoder.encode(value, type(value).__name__),
    }
    return parts_of_file(_KIND, content, encoder.entries)


def _opened(opened: Opened) -> Any:
    """Return what a file describes."""
    content = opened.content
    try:
        if content["constants"] != density_constants():
            raise FileFormatError(
                f"The model is of skflow {content['versions']['skflow']}, whose flows have "
                "another density for the same parameters. Install that version to open it."
            )
        return ModelDecoder(opened.entries).decode(content["estimator"])
    except (FileFormatError, MemoryError):
        raise
    except Exception as error:  # whatever a setter says to what it cannot take
        # What the error says may itself be of objects that are not whole.
        what = type(error).__name__
        raise FileFormatError(f"The model cannot be made again: {what}.") from error
