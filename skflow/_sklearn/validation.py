"""Arrays, frames, random states, devices and parameters, checked at the door.

The one file that may use a private name of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import _fit_context
from sklearn.utils import (
    _safe_indexing,
    check_array,
    check_consistent_length,
    check_random_state,
)
from sklearn.utils import indexable as make_indexable
from sklearn.utils._array_api import get_namespace
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils._missing import is_pandas_na
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_container_adapter
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_method_params,
    _check_sample_weight,
    _get_feature_names,
    _num_samples,
    column_or_1d,
    validate_data,
)

from skflow._sklearn.readable import readable

__all__ = [
    "Composition",
    "HasMethods",
    "Interval",
    "StrOptions",
    "_get_feature_names",
    "are_numeric",
    "array_like",
    "as_numpy",
    "as_tensor",
    "check_columns",
    "column_label",
    "columns",
    "fit_context",
    "float_columns",
    "framed",
    "in_kind_of",
    "indexable",
    "is_frame",
    "is_missing",
    "latents",
    "makes_frames",
    "n_samples",
    "namespace",
    "numpy_dtype",
    "params_of_rows",
    "plain_array",
    "power_scale",
    "refuse_all_but_numbers",
    "refuse_but_two_dimensions",
    "resolve_device",
    "routed_params",
    "row_groups",
    "row_weights",
    "rows",
    "rows_back",
    "table",
    "take_columns",
    "take_rows",
    "target_rows",
    "torch_generator",
    "two_samples",
]

# Their squares, and the inverses of these, are far from what overflows.
_LEAST_TOTAL, _GREATEST_TOTAL = 1e-100, 1e100


# What keeps estimators in a list of names and estimators, and their parameters under these names.
Composition = _BaseComposition

Method = TypeVar("Method", bound=Callable[..., Any])


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]:
    """Let scikit-learn check the parameters first: its ``_fit_context``, which keeps types."""
    decorate: Callable[[Method], Method] = _fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorate


def rows(
    estimator: Any, X: Any, *, fitting: bool = False, least: int = 1, method: str = "fit"
) -> NDArray[Any]:
    """Check `X` and return it as an array of float32 or float64, without a copy if it is one.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_``, ``feature_names_in_`` and ``_rows_like`` are set when `fitting`,
        else compared. The last is an array without rows, of the kind that `X` is.
    X : array-like of shape (n_samples, n_features)
        The rows.
    fitting : bool, default=False
        Whether this is a call of fit.
    least : int, default=1
        How many rows there must be.
    method : str, default="fit"
        What `X` was passed to.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Or of the same namespace, and on the same device, as `X`, if scikit-learn's
        ``array_api_dispatch`` is on.
    """
    X, xp = _plain(X)
    if not fitting:
        _check_same_namespace(estimator, X, method)
    checked: NDArray[Any] = validate_data(
        estimator,
        X,
        reset=fitting,
        dtype=[xp.float64, xp.float32],
        ensure_min_samples=least,
    )
    if fitting:
        # A slice has the strides that it has after a pickle as well, and so the same hash.
        estimator._rows_like = xp.zeros(
            (1, checked.shape[1]), dtype=checked.dtype, device=getattr(checked, "device", None)
        )[:0, :]
    return checked


# The letters by which NumPy and pandas know numbers.
_NUMBER_KINDS = frozenset("biuf")


def _refuse_columns_that_are_no_numbers(X: Any) -> None:
    """Name the columns of a frame that hold no numbers, and say what to do with them."""
    if is_frame(X):
        refuse_all_but_numbers(X.columns, X.dtypes, are_numeric(X))


def refuse_all_but_numbers(
    names: Iterable[Any], dtypes: Iterable[Any], are_numbers: Iterable[bool]
) -> None:
    """Refuse columns of which some hold no numbers, by their names and types."""
    wrong = [
        f"{name!r} ({dtype})"
        for name, dtype, right in zip(names, dtypes, are_numbers, strict=True)
        if not right
    ]
    if wrong:
        raise ValueError(
            f"Columns of X do not hold numbers: {', '.join(wrong[:10])}"
            f"{' and more' if len(wrong) > 10 else ''}. Drop them, encode strings and categories, "
            "for example with sklearn.preprocessing.OneHotEncoder, and turn dates into numbers, "
            "such as days since a date."
        )


def is_frame(X: Any) -> bool:
    """Say whether `X` has columns of different types."""
    X = readable(X)  # first: frames that are not computed warn if they are asked
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def are_numeric(X: Any) -> list[bool]:
    """Say which columns of a frame hold numbers."""
    return [
        _holds_numbers(X, column) if str(dtype) == "object" else _is_numeric(dtype)
        for column, dtype in enumerate(X.dtypes)
    ]


def _is_numeric(dtype: Any) -> bool:
    if hasattr(dtype, "is_numeric"):  # of Polars
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    if getattr(dtype, "categories", None) is not None:
        return False
    return getattr(dtype, "kind", "O") in _NUMBER_KINDS


def _holds_numbers(X: Any, column: int) -> bool:
    """Say whether the objects in a column of a frame are numbers, as strings are in old pandas."""
    try:
        np.asarray(_safe_indexing(X, column, axis=1)).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def is_missing(entry: Any) -> bool:
    """Say whether an entry of a column of any kind is None, NaN or pandas's NA."""
    return entry is None or is_pandas_na(entry) or (isinstance(entry, Real) and entry != entry)


def row_weights(sample_weight: Any, X: Any) -> NDArray[np.float64]:
    """Check weights of the rows of `X`, of which there is one for each, or one for all.

    Returns
    -------
    weights : ndarray of shape (n_samples,)
        In float64.

    Raises
    ------
    ValueError
        If one is negative, none is positive, or their sum is out of all proportion.
    """
    sample_weight = readable(sample_weight)
    if hasattr(sample_weight, "__dlpack__"):
        sample_weight = as_numpy(sample_weight)
    checked: NDArray[np.float64] = _check_sample_weight(
        sample_weight, np.empty((len(X), 1)), dtype=np.float64, ensure_non_negative=True
    )
    total = float(checked.sum())
    if total == 0:  # of which older releases of scikit-learn say nothing
        raise ValueError("sample_weight is zero for all rows; one at least must be positive.")
    if not _LEAST_TOTAL < total < _GREATEST_TOTAL:
        raise ValueError(
            f"sample_weight adds up to {total:.3g}, beyond what float64 can compute with. "
            "Divide it by its mean."
        )
    return checked


def row_groups(groups: Any, X: Any) -> NDArray[np.intp]:
    """Check the groups of the rows of `X`, of which there is one for each.

    Returns
    -------
    of_row : ndarray of shape (n_samples,)
        The number of its group, from 0 on.

    Raises
    ------
    ValueError
        If there are more groups or fewer than rows, or if they are of kinds that do not compare.
    """
    groups = readable(groups)
    if hasattr(groups, "__dlpack__"):
        groups = as_numpy(groups)
    checked = column_or_1d(groups, dtype=None)
    if len(checked) != len(X):
        raise ValueError(f"groups has {len(checked)} entries, but X has {len(X)} rows.")
    try:
        of_row: NDArray[np.intp] = np.unique(checked, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(f"groups must be numbers alone, or strings alone: {error}.") from error
    return of_row


def latents(estimator: Any, X: Any) -> NDArray[Any]:
    """Check latents, of which there is one for each column, as :func:`rows` checks rows."""
    checked = _unnamed(estimator, X)
    if checked.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {checked.shape[1]} columns, but the flow was fitted to "
            f"{estimator.n_features_in_}: there is one latent for each column of the data."
        )
    return checked


def rows_back(transformer: Any, X: Any) -> NDArray[Any]:
    """Check rows to transform back, of as many columns as the transformer was fitted to."""
    checked = _unnamed(transformer, X)
    if checked.shape[1] != transformer.n_features_in_:
        raise ValueError(
            f"X has {checked.shape[1]} features, but {type(transformer).__name__} is expecting "
            f"{transformer.n_features_in_} features as input."
        )
    return checked


def two_samples(X: Any, Y: Any, *, least: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check two samples of the same columns, each of `least` rows or more."""
    names, names_Y = _get_feature_names(X), _get_feature_names(Y)
    X, Y = plain_array(X), plain_array(Y)
    X = check_array(X, dtype=np.float64, input_name="X")
    Y = check_array(Y, dtype=np.float64, input_name="Y")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            "X and Y must have the same columns, "
            f"got {X.shape[1]} columns in X and {Y.shape[1]} in Y."
        )
    if names is not None and names_Y is not None and list(names) != list(names_Y):
        raise ValueError(
            "X and Y must have the same columns in the same order, "
            f"got {list(names)} in X and {list(names_Y)} in Y."
        )
    if min(len(X), len(Y)) < least:
        raise ValueError(
            f"X and Y must have at least {least} rows each, got {len(X)} in X and {len(Y)} in Y."
        )
    return X, Y


def _unnamed(estimator: Any, X: Any) -> NDArray[Any]:
    X, xp = _plain(X)
    _check_same_namespace(estimator, X, "inverse_transform")
    checked: NDArray[Any] = check_array(X, dtype=[xp.float64, xp.float32], input_name="X")
    return checked


def _plain(X: Any) -> tuple[Any, Any]:
    """Return `X` as scikit-learn is to check it, and its namespace.

    Tensors leave their history behind. Without ``array_api_dispatch`` all arrays become NumPy's
    here: scikit-learn, which does the same, would make float64 of another library's float32.
    Frames with columns that hold no numbers are refused.
    """
    X = readable(X)
    _refuse_columns_that_are_no_numbers(X)
    xp, dispatched = get_namespace(X)
    if not dispatched and hasattr(X, "__dlpack__") and not isinstance(X, np.ndarray):
        X = np.asarray(X)
    return X, xp


def plain_array(X: Any) -> Any:
    """Return `X` as scikit-learn is to check it: tensors leave their history behind."""
    return _plain(X)[0]


def _check_same_namespace(estimator: Any, X: Any, method: str) -> None:
    """Refuse arrays of another namespace than those of `fit`, by scikit-learn's convention."""
    fitted, given = namespace(estimator._rows_like), namespace(X)
    if given != fitted:
        fitted_name, given_name = (xp.__name__.rpartition(".")[2] for xp in (fitted, given))
        raise ValueError(
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace "
            f"as those passed to fit(), which is {fitted_name}, got {given_name}. Convert X, or "
            "turn array_api_dispatch off to get NumPy arrays for arrays of any kind."
        )


def namespace(X: Any) -> Any:
    """Return the namespace of an array, which is NumPy's unless ``array_api_dispatch`` is on."""
    return get_namespace(X)[0]


def makes_frames(estimator: Any) -> bool:
    """Say whether ``set_output`` or scikit-learn's configuration asks for frames of latents."""
    return _get_container_adapter("transform", estimator) is not None


def framed(estimator: Any, X: Any, like: Any = None) -> Any:
    """Return rows in the frame that ``set_output`` or scikit-learn's configuration asks for.

    Its columns are those that the estimator was fitted to, and its index is that of `like`.
    scikit-learn itself frames what `transform` returns, and nothing else.
    """
    adapter = _get_container_adapter("transform", estimator)
    if adapter is None or not hasattr(estimator, "set_output"):
        return X
    return adapter.create_container(as_numpy(X), like, columns=_check_feature_names_in(estimator))


def params_of_rows(X: Any, params: dict[str, Any], indices: Any) -> dict[str, Any]:
    """Take the values of some rows of `X` from parameters that have one for each row."""
    taken: dict[str, Any] = _check_method_params(X, params, indices)
    return taken


def column_label(estimator: Any, column: int) -> str:
    """Name a column as the user knows it: by its position, and its name if it has one."""
    names = getattr(estimator, "feature_names_in_", None)
    return f"column {column}" if names is None else f"column {column} ({names[column]!r})"


def power_scale(transformer: Any) -> NDArray[Any]:
    """Return what a standardising PowerTransformer divides its columns by."""
    scale: NDArray[Any] = transformer._scaler.scale_
    return scale


# As DLPack numbers the kinds of devices.
_CPU = 1


class _Writable:
    """A view of an array that PyTorch takes for writable, although it is only read."""

    def __init__(self, X: NDArray[Any]) -> None:
        interface = X.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
        self._X = X  # which owns the memory


def as_tensor(X: Any) -> torch.Tensor:
    """View an array as a tensor, on the same device and to be read only.

    Memory maps and other read-only arrays are not copied, either; only what PyTorch cannot
    stride through is.
    """
    if isinstance(X, torch.Tensor):
        return X.detach()
    if not isinstance(X, np.ndarray):
        if X.__dlpack_device__()[0] != _CPU:
            return torch.utils.dlpack.from_dlpack(X)
        X = np.from_dlpack(X)
    if any(stride < 0 for stride in X.strides):
        X = X.copy()
    if not X.flags.writeable:
        X = np.asarray(_Writable(X))
    return torch.from_numpy(X)


def array_like(array: Any, like: Any) -> Any:
    """View an array or a tensor as an array of the namespace of `like`, and on its device."""
    tensor = as_tensor(array)
    xp, dispatched = get_namespace(like)
    if isinstance(like, np.ndarray) or not dispatched:
        return tensor.cpu().numpy()
    if isinstance(like, torch.Tensor):
        return tensor.to(like.device)
    if tensor.device.type == "cpu":
        return xp.asarray(tensor.numpy(), device=like.device)
    return xp.from_dlpack(tensor)


def as_numpy(X: Any) -> NDArray[Any]:
    """Return an array of any namespace as one of NumPy, without a copy if it is on the CPU."""
    X = readable(X)
    if hasattr(X, "__dlpack__") and not isinstance(X, np.ndarray):
        return as_tensor(X).cpu().numpy()
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(
            "A list whose entries have several lengths was passed, but an array is needed: give "
            "all of them the same length."
        ) from error


def numpy_dtype(X: Any) -> np.dtype[Any]:
    """Return NumPy's name for the dtype of an array of any namespace."""
    return as_numpy(X[:0, :]).dtype


def target_rows(y: Any, X: Any) -> NDArray[np.float64]:
    """Check targets of the rows of `X`, of which there is one for each, or one row.

    Returns
    -------
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        In float64.
    """
    if y is None:
        raise ValueError("fit requires y to be passed, but the target y is None.")
    y = readable(y)
    is_line = hasattr(y, "shape") and getattr(y, "ndim", 1) != 2
    checked: NDArray[np.float64] = check_array(
        as_numpy(y) if is_line else plain_array(y),
        dtype=np.float64,
        ensure_2d=False,
        input_name="y",
    )
    check_consistent_length(X, checked)
    return checked


def torch_generator(random_state: Any, device: torch.device) -> torch.Generator:
    """Make a private generator from scikit-learn's kind of random state."""
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return torch.Generator(device).manual_seed(seed)


def resolve_device(device: str, near: torch.device | None = None) -> torch.device:
    """Turn the parameter `device` into one that is there.

    Parameters
    ----------
    device : str
        "auto" is the GPU that the data are on, or any other, or the CPU.
    near : torch.device or None, default=None
        Where the data are.

    Raises
    ------
    ValueError
        If it is not a device's name, or that device is not there.
    """
    if device == "auto":
        if near is not None and near.type == "cuda":
            return near
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r}."
        ) from None
    if resolved.type == "cuda":
        count = torch.cuda.device_count()
        if (resolved.index or 0) >= count:
            raise ValueError(
                f"device={device!r} is not there: PyTorch sees {count} CUDA device(s). "
                "Use device='auto' to take one if there is one."
            )
    elif resolved.type != "cpu":
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r}."
        )
    return resolved


def check_columns(estimator: Any, X: Any, *, fitting: bool = False) -> None:
    """Record how many columns `X` has and their names, or compare; look at nothing else of it.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set when `fitting`, else compared.
    X : array-like of shape (n_samples, n_features)
        Of any kind that scikit-learn's estimators take.
    fitting : bool, default=False
        Whether to set them.
    """
    X = readable(X)
    if not hasattr(X, "shape"):
        X = check_array(X, dtype=None, ensure_all_finite=False)
    refuse_but_two_dimensions(X)
    if X.shape[0] == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={tuple(X.shape)}) while a minimum of 1 is "
            "required."
        )
    validate_data(estimator, X, reset=fitting, skip_check_array=True)


def table(estimator: Any, X: Any, *, fitting: bool = False) -> Any:
    """Check a table: a frame as it is, or an array of numbers, strings and holes.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set when `fitting`, else compared.
    X : array-like of shape (n_samples, n_features)
        A frame, or what becomes an array of NumPy.
    fitting : bool, default=False
        Whether to set them.
    """
    X = readable(X)
    if is_frame(X) and X.shape[0] and X.shape[1]:
        check_columns(estimator, X, fitting=fitting)
        return X
    return validate_data(
        estimator,
        X,
        reset=fitting,
        dtype=None,
        ensure_all_finite="allow-nan",
        ensure_min_samples=2 if fitting else 1,
    )


def refuse_but_two_dimensions(X: Any) -> None:
    n_dimensions = getattr(X, "ndim", 2)  # some frames have none, and lists
    if n_dimensions != 2:
        raise ValueError(
            f"X must be an array of two dimensions, got {n_dimensions}. Reshape your data: to "
            "X.reshape(-1, 1) if it is a column, and to X.reshape(1, -1) if it is a row."
        )


def indexable(*arrays: Any) -> list[Any]:
    """Return arrays of one length that rows can be taken from, by scikit-learn's function."""
    found: list[Any] = make_indexable(*map(readable, arrays))
    return found


def n_samples(X: Any) -> int:
    """Return the number of rows of an array, a frame, a list or a sparse matrix."""
    n: int = _num_samples(X)
    return n


def take_rows(X: Any, indices: NDArray[np.intp]) -> Any:
    """Return some rows of an array, a frame, a list or a sparse matrix, in the same kind."""
    return _safe_indexing(X, indices)


def take_columns(X: Any, positions: Any) -> Any:
    """Return some columns of an array or a frame in the same kind, or one alone, by positions."""
    return _safe_indexing(X, positions, axis=1)


def columns(X: Any) -> Iterator[NDArray[Any]]:
    """Give the columns of an array, a frame, a list or a sparse matrix as arrays of NumPy."""
    if issparse(X):
        X = X.tocsc()
        yield from (X[:, [j]].toarray()[:, 0] for j in range(X.shape[1]))
    elif hasattr(X, "shape") and not hasattr(X, "dtype"):  # a frame
        yield from (as_numpy(_safe_indexing(X, j, axis=1)) for j in range(X.shape[1]))
    else:
        X = as_numpy(X)
        refuse_but_two_dimensions(X)
        yield from X.T


def float_columns(X: Any) -> Iterator[NDArray[np.float64] | None]:
    """Give each column of a frame as float64, with NaN where one is missing.

    Of a column whose type is none of numbers, such as one of categories, give None.
    """
    for j in range(X.shape[1]):
        values = _safe_indexing(X, j, axis=1)
        is_numeric = _is_numeric(getattr(values, "dtype", np.asarray(values).dtype))
        yield np.asarray(values, dtype=np.float64) if is_numeric else None


def in_kind_of(like: Any, X: NDArray[Any]) -> Any:
    """Return rows as a frame with the names of `like`, or as an array of its namespace."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(like).__mro__}
    for library, adapter in ADAPTERS_MANAGER.adapters.items():
        if library in libraries:
            return adapter.create_container(X, None, columns=like.columns)
    return array_like(X, like) if hasattr(like, "__dlpack__") else X


def routed_params(
    meta_estimator: Any, groups: Any, params: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell what is for ``split`` of the splitter and what for ``fit`` of the estimator.

    Parameters
    ----------
    meta_estimator : estimator
        One whose routing knows an ``estimator`` and a ``splitter``.
    groups : array-like of shape (n_samples,) or None
        For the splitter, unless metadata routing is on.
    params : dict
        For the estimator, unless metadata routing is on: then each gets what it requests.

    Returns
    -------
    split_params, fit_params : dicts
        Both may be empty.
    """
    if not _routing_enabled():
        return {"groups": groups}, params
    if groups is not None:
        params = {**params, "groups": groups}
    routed = process_routing(meta_estimator, "fit", **params)
    return routed["splitter"]["split"], routed["estimator"]["fit"]
