"""What each process of a group does in the tests of row_split: ``python split_rank.py FOLDER``."""

import os
import pickle
import sys
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from skflow import RelativeGradientFlow, load
from skflow.distributed import row_split
from skflow.distributed.columns import Columns
from skflow.distributed.factorization import SplitFactorization
from skflow.distributed.split_layer import RowSplitLinear
from skflow.exceptions import ColumnWarning, InversionError
from skflow.flow import LinearStack
from skflow.flow.relative import RelativeLayer
from skflow.training.batches import Batches
from skflow.training.exchange import current_exchange
from skflow.training.plan import OPTIMIZERS
from skflow.training.rows import Rows
from skflow.training.steps import Steps

# 4 processes do not have as many columns each, nor do 2.
D = 43

FITS = {
    "splines": {"base_distribution": "logistic", "input_noise": 0.1},
    "activations": {"activation": "leaky_tanh", "n_layers": 3},
    "tails": {"base_distribution": "student_t"},
    "few rows": {"early_stopping": True, "max_iter": 3},
}
# Of each, the optimiser, whether rows have weights, and how many there are: from fewer rows than
# columns, the start takes another way.
CASES = (
    ("splines", "relative", True, 64),
    ("activations", "sgd", True, 32),
    ("tails", "adam", True, 48),
    ("few rows", "relative", False, 80),
)


def data(n_rows, d=D):
    rng = np.random.default_rng(0)
    mixed = rng.gamma(2.0, size=(n_rows, d)) @ (np.eye(d) + 0.1 * rng.normal(size=(d, d)))
    return mixed, rng.gamma(2.0, size=n_rows)


def of_fit(name, optimizer, weighted, n_rows):
    """Return whole weights, log-densities, latents and the course of a fit, and the estimator."""
    X, sample_weight = data(n_rows)
    options = {"coupling": None, "n_layers": 2, "dtype": "float64", "max_iter": 2}
    options |= {"batch_size": 16, "early_stopping": False, "random_state": 0}
    flow = RelativeGradientFlow(optimizer=optimizer, **options | FITS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        flow.fit(X, sample_weight=sample_weight if weighted else None)
    return {
        **whole_parameters(flow.flow_),
        "scores": flow.score_samples(X),
        "latents": flow.transform(X),
        "course": np.array([*flow.loss_curve_, *flow.validation_scores_, flow.log_det_]),
    }, flow


def whole_parameters(flow):
    """Return all parameters of a flow, of all columns."""
    n_own = flow.columns.n_own if hasattr(flow, "columns") else flow.n_features
    found = {"dense": [torch.empty(0)], "bias": [torch.empty(0)], "others": [torch.empty(0)]}
    for module in flow.modules():
        if isinstance(module, RelativeLayer):
            found["dense"].append(whole(module, module.weight, 1))
            found["bias"].append(whole(module, module.bias, 1))
        else:
            own = module._parameters.values()
            found["others"] += [whole(flow, p, p.shape.index(n_own)) for p in own]
    return {name: torch.cat([p.reshape(-1) for p in each]).numpy() for name, each in found.items()}


def whole(part, parameter, axis):
    parameter = parameter.detach()
    if not hasattr(part, "columns"):
        return parameter
    return part.columns.gather(parameter.movedim(axis, -1)).movedim(-1, axis)


def received():
    group = getattr(current_exchange(), "group", None)
    return 0.0 if group is None else group.n_received


def all_fits(cases=CASES):
    return {case: of_fit(*case)[0] for case in cases}


def layer_and_oracle(columns, dtype=torch.float64, condition=None):
    """Return a split layer and the whole one that has the same weights."""
    d = columns.n_features
    generator = torch.Generator().manual_seed(1)
    whole_layer = LinearStack(1, d, dtype=dtype)
    weight = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    if condition is not None:
        weight = weight * torch.logspace(0, np.log10(condition), d, dtype=torch.float64)
        weight = weight @ torch.linalg.qr(torch.randn(d, d, generator=generator).double()).Q
    with torch.no_grad():
        whole_layer.weight.copy_(weight)
        whole_layer.bias.copy_(torch.randn(1, d, generator=generator))
        split = RowSplitLinear(columns, dtype=dtype)
        split.weight.copy_(whole_layer.weight[:, columns.own])
        split.bias.copy_(whole_layer.bias[:, columns.own])
    return split, whole_layer


def oracle(columns):
    """Return by how much gradients differ from those of autograd and slogdet."""
    split, whole_layer = layer_and_oracle(columns)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(7, columns.n_features, generator=generator, dtype=torch.float64)
    weight, bias = (p.detach()[0].requires_grad_() for p in (whole_layer.weight, whole_layer.bias))
    whole_x = x.clone().requires_grad_()
    y = whole_x @ weight.T + bias
    loss = (y.tanh().square().sum() + y.sum()) / 7 - torch.linalg.slogdet(weight).logabsdet
    by_x, by_weight, by_bias = torch.autograd.grad(loss, (whole_x, weight, bias))
    weight, bias = weight.detach(), bias.detach()
    # The relative gradient is that times the augmented matrix, transposed and plain.
    s = by_weight @ weight.T + torch.outer(by_bias, bias)
    expected = s @ weight, s @ bias + by_bias
    with torch.no_grad():
        own_y, _, pullback = split.forward_and_pullback(x[:, columns.own].contiguous())
        squashed = own_y.tanh()
        delta = (2 * squashed * (1 - squashed.square()) + 1) / 7
        own_by_x = pullback(delta, torch.zeros(7).double())
        split.set_gradients()
    own = columns.own
    return [
        float((own_by_x - by_x[:, own]).abs().max()),
        float((split.weight.grad[0] - expected[0][own]).abs().max()),
        float((split.bias.grad[0] - expected[1][own]).abs().max()),
    ]


def tracked(columns, dtype):
    """Return the tracked log-determinant after many steps, and the exact one."""
    split, _ = layer_and_oracle(columns, dtype)
    split.log_abs_det()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _ in range(12):
            x = torch.randn(9, columns.n_features, generator=generator, dtype=dtype)
            y, _, pullback = split.forward_and_pullback(x[:, columns.own].contiguous())
            pullback(y.tanh() / 9, torch.zeros(9, dtype=dtype))
            split.relative_step(0.05)
        split.settle()
        assert split.determinants.known(split.weight) is not None
        exact = torch.linalg.slogdet(whole(split, split.weight, 1)[0].double()).logabsdet
        return float(split.log_abs_det()), float(exact)


def inverses(columns):
    """Return residuals and errors of inverses, by condition number."""
    found = {}
    x = torch.randn(5, columns.n_features, generator=torch.Generator().manual_seed(4)).double()
    for condition in (10, 1e2, 1e6):
        split, whole_layer = layer_and_oracle(columns, condition=condition)
        with torch.no_grad():
            y = whole_layer(x)[:, columns.own].contiguous()
            error = (split.inverse(y) - x[:, columns.own]).abs().max()
            exact = whole_layer.log_abs_det() - split.log_abs_det()
        found[condition] = split.residual, float(error), float(exact.abs())
    with torch.no_grad():
        split.weight.zero_()
    try:
        split.inverse(y)
    except InversionError as error:
        found["singular"] = str(error)
    return found


def factors(columns):
    """Return by how much a factorisation in blocks of several sizes misses a matrix."""
    d = columns.n_features
    matrix = torch.randn(d, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = torch.randn(3, d, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    missed = []
    for block_rows in (1, 4, 64):
        own = matrix[columns.own].clone()
        split = SplitFactorization(own, columns, block_rows=block_rows)
        x = split.solve(y[:, columns.own].contiguous())
        exact = torch.linalg.slogdet(matrix).logabsdet
        missed += [float((x @ matrix.T - y).abs().max()), float(split.log_abs_det() - exact)]
    return missed


def uses(folder):
    """Return what a fitted flow gives within, and the errors elsewhere."""
    (_, flow), (X, _) = of_fit(*CASES[0]), data(64)
    found = {
        "sample": flow.sample(500, random_state=0),
        "again": flow.sample(500, random_state=0),
        "unseeded": flow.sample(2),
        "back": np.abs(flow.inverse_transform(flow.transform(X)) - X).max(),
        "round trip": flow.round_trip_error_,
        "score": flow.score(X),
        "scores": flow.score_samples(X),
        "copied": deepcopy(flow).score_samples(X),
        "pickled": pickle.loads(pickle.dumps(flow)).score_samples(X),
    }
    path = Path(folder) / f"{os.environ['RANK']}.skflow"
    flow.save(path)
    found["saved"] = load(path).score_samples(X)
    return found, flow


def bytes_of_steps():
    """Return the bytes that a step receives, if something that trains is before it or not."""
    X = torch.from_numpy(data(60)[0])
    exchange = current_exchange()
    found = []
    for activation in ("spline", "leaky_tanh"):
        parameters = RelativeGradientFlow(
            2, activation=activation, coupling=None, dtype="float64"
        ).get_params()
        flow = exchange.build_flow(parameters, len(X), D)
        rows = exchange.own(Rows(X))
        generator = torch.Generator().manual_seed(0)
        flow.initialize(rows.take(torch.arange(60)), generator)
        flow.log_abs_det()
        batches = Batches(rows, 12, generator)
        optimizer = OPTIMIZERS["relative"](flow)
        steps = Steps(flow, optimizer, rate=0.1, others_rate=0.01, exchange=exchange)
        steps.begin_epoch()
        before = received()
        for batch in batches:
            assert steps.take(batch, 1.0)
        found.append((received() - before) / len(batches))
    return found


def not_finite():
    """Return whether steps are taken, and move anything, if one rank has infinite gradients."""
    rank = int(os.environ["RANK"])
    parameters = RelativeGradientFlow(1, coupling=None, dtype="float64").get_params()
    flow = current_exchange().build_flow(parameters, 60, D)
    x = torch.from_numpy(data(60)[0])
    flow.initialize(x[:, flow.columns.own].contiguous(), torch.Generator().manual_seed(0))
    optimizer = OPTIMIZERS["relative"](flow)
    found, spline = [], flow.bijections[0]
    for fault in (0.0, np.inf):
        before = [p.detach().clone() for p in flow.parameters()]
        spline.slopes.grad.add_(fault if rank == 0 else 0.0)
        flow.relative_gradient(x[:10])
        taken = optimizer.step(0.1)
        moved = any(not torch.equal(a, b) for a, b in zip(before, flow.parameters(), strict=True))
        found.append((taken, moved))
    return found


def refused():
    """Return the errors of what cannot be divided."""
    X, _ = data(60)
    errors = {}
    for name, options in {
        "coupling": {"coupling": "affine"},
        "base": {"base_distribution": "mixture"},
        "batch": {"batch_size": D},
        "checkpoint": {"checkpoint_path": "nowhere"},
        "warm": {"warm_start": True},
    }.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ColumnWarning)
                RelativeGradientFlow(2, max_iter=1, **{"coupling": None} | options).fit(X)
        except ValueError as error:
            errors[name] = str(error)
    try:
        RelativeGradientFlow().partial_fit(X)
    except ValueError as error:
        errors["partial_fit"] = str(error)
    try:
        RelativeGradientFlow(coupling=None, max_iter=1).fit(X[:, :1])
    except ValueError as error:
        errors["columns"] = str(error)
    return errors


def odd_rows():
    """Return fits of columns that are constant on one process, and of values that repeat."""
    X, _ = data(80)
    X[:, -1] = 3.0
    flow = RelativeGradientFlow(1, coupling=None, max_iter=2, batch_size=20, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flow.fit(X)
    timed = RelativeGradientFlow(1, coupling=None, max_time=0.3, early_stopping=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        timed.fit(data(80)[0])
    far = X.copy()
    far[0, 0] = 1e300
    return {
        "scores": flow.score_samples(X),
        "far": flow.score_samples(far),
        "warnings": [str(one.message) for one in caught],
        "timed": [timed.n_iter_, timed.score(X)],
    }


def run_as(rank, n_ranks, port, folder):
    """Do what a group does, as one of its processes."""
    group = {"RANK": rank, "WORLD_SIZE": n_ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
    torch.distributed.init_process_group("gloo")
    columns = Columns(D, rank, n_ranks)
    with row_split():
        cases = CASES if n_ranks == 2 else CASES[:3]
        results = {"fits": all_fits(cases), "oracle": oracle(columns), "factors": factors(columns)}
        dtypes = (torch.float64, torch.float32)
        results["tracked"] = {dtype: tracked(columns, dtype) for dtype in dtypes}
        results["received"] = bytes_of_steps()
        results["inverses"] = inverses(columns)
        if n_ranks == 2:
            results["uses"], flow = uses(folder)
            results |= {"refused": refused(), "odd rows": odd_rows()}
            results["not finite"] = not_finite()
    if n_ranks == 2:
        try:
            flow.score_samples(data(3)[0])
        except RuntimeError as error:
            results["outside"] = str(error)
    torch.save(results, folder / f"{rank}_of_{n_ranks}.pt")


def main(folder):
    from forks import free_port, start  # which is beside this script

    torch.set_num_threads(1)
    of_fit(*CASES[0])  # what is compiled is compiled once
    codes = []
    for n_ranks in (2, 4):
        port = free_port()
        for rank in range(n_ranks):
            start(run_as, rank, n_ranks, port, folder)
        codes += [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(n_ranks)]
    return max(map(abs, codes))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
