"""Model files and checkpoints with altered bytes.

Two thirds of the files are altered as accidents do: flipped bits, bytes of anything, blocks that
are missing, moved or zero, a cut or a longer end. Each of these has to be refused. The rest is
forged: its header or its content is altered and its checksum made right. A forged file may open,
and then is another model, or is refused; and the scores of what opens may be wrong, or an error.

No file may end the process, run anything, take more than a second, or more memory than two times
its size or than the file that was not altered. The first file that has columns of polars imports
polars, which takes a second; so it is imported before.
"""

import copy
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import polars  # noqa: F401
from _common import write_csv
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import skflow
from skflow.exceptions import FileFormatError
from skflow.training.checkpoint import Checkpoint

_ZEROS = b"0" * 64
_AT = len(b'{"__metadata__":{"checksum":"') + 8
_MOST_SECONDS = 1.0
_LITTLE = 2**18

# What no file may cause, by the names of Python's audit events.
_FORBIDDEN = (
    *("exec", "compile", "pickle.find_class", "marshal.loads", "code.__new__", "ctypes.dlopen"),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename", "os.mkdir"),
    *("subprocess.Popen", "socket.connect", "socket.bind", "shutil.rmtree", "urllib.Request"),
)
# Libraries that a file may import, as its classes are theirs.
_LIBRARIES = {"skflow", "sklearn", "torch", "numpy", "pandas", "polars"}

_seen_events = []
_is_watched = False


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--files", type=int, default=100_000, help="how many files to alter")
    parser.add_argument("--batch", type=int, default=500, help="files for each process")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first file")


def run(arguments):
    """Run the campaign, and write its figures."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        originals = {name: make(Path(folder)) for name, make in ORIGINALS.items()}
        counts = {name: Counter() for name in originals}
        for first in range(0, arguments.files, arguments.batch):
            last = min(first + arguments.batch, arguments.files)
            name = list(originals)[first // arguments.batch % len(originals)]
            seeds = range(arguments.seed + first, arguments.seed + last)
            counts[name].update(_in_a_process(originals[name], seeds, Path(folder)))
            counts[name]["files"] += last - first
            if last % 10_000 == 0:
                print(last, dict(sum(counts.values(), Counter())), flush=True)
        for name, count in counts.items():
            if count["files"]:
                size = len(originals[name].data)
                rows.append({"file": name, "bytes": size} | {what: count[what] for what in WHAT})
                print(rows[-1], flush=True)
    for what in WHAT:
        print(f"{what}: {sum(row[what] for row in rows)}")
    write_csv(arguments.results / "reliability_files.csv", rows)
    return rows


WHAT = (
    *("files", "refused", "same", "forged_opened", "forged_scored"),
    *("accident_opened", "other_error", "crash", "code", "slow", "large"),
)


def _in_a_process(original, seeds, folder):
    """Open altered files in a process of its own, and count what comes of them."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            counts = _opened(original, seeds, folder)
        except BaseException as error:
            counts = {"other_error": 1}
            print(f"seeds {seeds}: {error!r}", flush=True)
        os.write(writer, json.dumps(counts).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        print(f"seeds {seeds} of {original.name}: {signal.Signals(os.WTERMSIG(status)).name}")
        return {"crash": 1}
    return json.loads(told)


def _opened(original, seeds, folder):
    global _is_watched
    warnings.simplefilter("ignore")
    sys.addaudithook(_watch)
    path = folder / "altered"
    counts = Counter()
    path.write_bytes(original.data)
    tracemalloc.start()
    expected = original.open(path)
    original.open(path)
    most = max(2 * len(original.data), tracemalloc.get_traced_memory()[1]) + _LITTLE
    for seed in seeds:
        chance = random.Random(seed)
        is_forged = seed % 3 == 0
        data = (forged if is_forged else damaged)(original.data, chance)
        path.write_bytes(data)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        started = time.thread_time()
        _seen_events.clear()
        _is_watched = True
        try:
            opened, outcome = original.open(path), "same"
        except FileFormatError:
            opened, outcome = None, "refused"
        except Exception as error:
            opened, outcome = None, "other_error"
            print(f"seed {seed} of {original.name}: {error!r}"[:400], flush=True)
        _is_watched = False
        seconds, taken = time.thread_time() - started, tracemalloc.get_traced_memory()[1] - before
        for what, is_so in (("slow", seconds > _MOST_SECONDS), ("large", taken > most)):
            if is_so:
                counts[what] += 1
                size = f"{seconds:.2f} s, {taken} bytes for {len(data)}"
                print(f"seed {seed} of {original.name} is {what}: {size}", flush=True)
        if _seen_events:
            print(f"seed {seed} of {original.name}: {_seen_events[:3]}", flush=True)
            counts["code"] += 1
        if opened is not None and original.digest(opened) != original.digest(expected):
            outcome = "forged_opened" if is_forged else "accident_opened"
            if is_forged:
                counts["forged_scored"] += _scores(original, opened)
        counts[outcome] += 1
    return counts


def _watch(event, arguments):
    """Note what should not happen; a library that imports a part of itself may run that."""
    if not _is_watched or (event != "import" and event not in _FORBIDDEN):
        return
    callers = _callers()
    if event == "import":
        library = arguments[0].partition(".")[0]
        if "skflow" in next(iter(callers), "") and library not in _LIBRARIES:
            _seen_events.append((event, arguments[0]))
    elif event in _FORBIDDEN and len(callers) == len(_callers(leave_out=None)):
        _seen_events.append((event, str(arguments)[:100]))


def _callers(leave_out="importlib"):
    """Return the files of the calls that lie above, but for those that import."""
    files, frame = [], sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if leave_out is None or leave_out not in name:
            files.append(name)
        frame = frame.f_back
    return files


def _scores(original, opened):
    """Return whether a forged model still has scores; what matters is that the process lives."""
    try:
        original.score(opened)
    except Exception:
        return 0
    return 1


def damaged(data, chance):
    """Return bytes as an accident leaves them."""
    changed = bytearray(data)
    match chance.randrange(8):
        case 0 | 1:
            for _ in range(chance.choice([1, 1, 1, 2, 8])):
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        case 2:
            for _ in range(chance.choice([1, 4, 64])):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
        case 3:
            del changed[chance.randrange(len(changed)) :]
        case 4:
            begin = chance.randrange(len(changed))
            del changed[begin : begin + chance.randrange(1, 512)]
        case 5:
            begin = chance.randrange(len(changed))
            changed[begin : begin + 512] = bytes(len(changed[begin : begin + 512]))
        case 6:
            changed += chance.randbytes(chance.randrange(1, 4096))
        case 7:
            begin, other = (chance.randrange(len(changed)) for _ in range(2))
            changed[begin : begin + 64], changed[other : other + 64] = (
                changed[other : other + 64],
                changed[begin : begin + 64],
            )
    return bytes(changed)


def forged(data, chance):
    """Return a file of another header or content, with a checksum that is right."""
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    arrays = bytearray(data[8 + length :])
    for _ in range(chance.choice([1, 1, 2, 5])):
        where = chance.random()
        if where < 0.6:
            content = json.loads(table["__metadata__"]["content"])
            _alter(content, chance)
            table["__metadata__"]["content"] = json.dumps(content)
        elif where < 0.85:
            _alter(table, chance, keep="__metadata__")
        elif arrays:
            begin = chance.randrange(len(arrays))
            arrays[begin : begin + 8] = chance.randbytes(len(arrays[begin : begin + 8]))
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    length = len(header) if chance.random() < 0.95 else chance.choice([0, 1, 2**31, 2**63])
    return with_checksum(length.to_bytes(8, "little") + header + bytes(arrays))


def with_checksum(data):
    """Return a file with the checksum that it should have."""
    empty = data[:_AT] + _ZEROS + data[_AT + 64 :]
    return empty[:_AT] + hashlib.sha256(empty).hexdigest().encode() + empty[_AT + 64 :]


def _alter(tree, chance, keep=None):
    """Replace, remove or add a random part of a tree of plain data, in place."""
    places = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = node if isinstance(node, dict) else range(len(node))
        for key in keys:
            if key == keep:
                continue
            places.append((node, key))
            if isinstance(node[key], dict | list):
                waiting.append(node[key])
    if not places:  # nothing is left of it
        return
    node, key = places[chance.randrange(len(places))]
    match chance.randrange(6):
        case 0:
            del node[key]
        case 1:
            other, at = places[chance.randrange(len(places))]
            node[key] = copy.deepcopy(other[at]) if at in _keys(other) else None
        case 2 if isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = chance.choice([-node[key], node[key] + 1, node[key] * 2**40, 0, -1])
        case 3 if isinstance(node[key], str) and node[key]:
            at = chance.randrange(len(node[key]))
            node[key] = node[key][:at] + chr(chance.randrange(32, 300)) + node[key][at + 1 :]
        case _:
            node[key] = copy.deepcopy(chance.choice(VALUES))


def _keys(node):
    return node if isinstance(node, dict) else range(len(node))


def _nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


VALUES = [
    *(None, True, 0, -1, 2**70, 1e308, "", "x" * 1000, [], {}, [[]], {"tuple": 3}),
    *({"same": 0}, {"same": 10**9}, {"same": -1}, {"float": "nan"}, _nested(400)),
    {"object": ["os:system", {"dict": []}]},
    {"object": ["builtins:eval", {"dict": []}]},
    {"object": ["sklearn.tree._tree:Tree", {"dict": []}]},
    {"object": ["skflow.estimators.density:RelativeGradientFlow", {"dict": []}]},
    {"object": ["skflow.estimators.density:RelativeGradientFlow.fit", {"dict": []}]},
    {"module": ["torch.nn.modules.linear:Linear", {"dict": []}]},
    {"function": "os:system"},
    {"function": "skflow._sklearn.persistence:load"},
    {"function": "load"},
    {"array": ["array_0", "|O", [1], "rows"]},
    {"array": ["array_0", "<f8", [2**40, 2**40], "rows"]},
    {"array": ["array_0", "<U1000000000", [1], "rows"]},
    {"objects": [[10**12], []]},
    {"torch_device": "cuda:99"},
    {"pandas_type": "category"},
    {"polars_type": ["DataFrame", [[1]]]},
]


class _Model:
    """A file of an estimator."""

    def __init__(self, name, estimator, score, folder):
        path = folder / name
        skflow.save(estimator, path)
        self.name, self.data, self.score = name, path.read_bytes(), score

    open = staticmethod(skflow.load)

    def digest(self, estimator):
        try:
            return hashlib.sha256(estimator.__getstate__()["model"]).hexdigest()
        except Exception:  # of a forged one, which may be anything
            return "none"


class _State:
    """A checkpoint, and a fit that goes on from it."""

    def __init__(self, folder):
        path = folder / "checkpoint"
        X = _rows(60)
        flow = skflow.RelativeGradientFlow(
            n_layers=2, max_iter=3, random_state=0, checkpoint_path=path
        )
        checkpoint = Checkpoint(path)
        self._plan = flow._plan(flow._rows(X, None), checkpoint)
        self._fit = self._plan.fit(0.0)
        self._fit.advance()
        checkpoint.keep(self._fit)
        self._rows, self._parameters = flow._rows(X, None), flow.get_params(deep=False)
        self.name, self.data = "checkpoint", path.read_bytes()

    def open(self, path):
        checkpoint = Checkpoint(path)
        try:
            checkpoint.compare(self._rows, self._parameters)
        except FileFormatError:
            raise
        except ValueError as error:
            raise FileFormatError("of another fit") from error
        checkpoint.resume(self._fit)
        return self._fit

    def digest(self, fit):
        return repr(fit.current.history)

    def score(self, fit):
        fit.advance()


def _rows(n_rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 2))
    X[:, 1] += X[:, 0] ** 2
    return X


def _frame(n_rows):
    X = _rows(n_rows)
    kind = pd.Categorical(np.where(X[:, 0] > 0, "high", "low"))
    return pd.DataFrame({"kind": kind, "size": X[:, 1]})


def _density(folder):
    flow = skflow.RelativeGradientFlow(n_layers=2, max_iter=2, random_state=0)
    return _Model("density", flow.fit(_rows(60)), _score_rows, folder)


def _mixture(folder):
    kinds = {"activation": skflow.LeakyTanh(), "base_distribution": skflow.NormalMixture(2)}
    flow = skflow.RelativeGradientFlow(n_layers=2, max_iter=2, random_state=0, **kinds)
    return _Model("mixture", flow.fit(_rows(60)), _score_rows, folder)


def _conditional(folder):
    X = _rows(80)
    flow = skflow.ConditionalFlow(n_trees=10, max_iter=2, random_state=0).fit(X, X[:, 0])
    return _Model("conditional", flow, lambda flow: flow.score_samples(X, X[:, 0]), folder)


def _ensemble(folder):
    parts = [("kernels", KernelDensity()), ("mixture", GaussianMixture(2, random_state=0))]
    ensemble = skflow.DensityEnsemble(parts, random_state=0).fit(_rows(60))
    return _Model("ensemble", ensemble, _score_rows, folder)


def _ratio(folder):
    ratio = skflow.DensityRatio(random_state=0).fit(_rows(60), _rows(60) + 1)
    return _Model("ratio", ratio, _score_rows, folder)


def _table(folder):
    table = skflow.TableFlow(max_iter=2, random_state=0).fit(_frame(80))
    return _Model("table", table, lambda table: table.score_samples(_frame(5)), folder)


def _score_rows(estimator):
    return estimator.score_samples(_rows(5))


ORIGINALS = {
    "density": _density,
    "mixture": _mixture,
    "checkpoint": _State,
    "conditional": _conditional,
    "density again": _density,
    "ensemble": _ensemble,
    "checkpoint again": _State,
    "ratio": _ratio,
    "mixture again": _mixture,
    "table": _table,
}
