"""What a training step, scoring and sampling cost in time and memory, beside other ways to do it.

- `steps`: the time of one training step of two dense layers over the number of columns, as in
  figures 1 and 3 of the paper. Beside it stand the formulation as published, the same without the
  gradients that it throws away, the determinants of the weights in the loss, the Jacobian of each
  row by automatic differentiation, and flows of zuko and nflows; each where a step takes less than
  some 20 seconds. The roofline is what the matrix products alone take, four in each layer:
  x Wᵀ, [δ; y] W, which counts twice, and the update of W; by PyTorch's own operations, and by the
  library that skflow chooses. The faster one is the measure. A step can leave out δ W in the
  first layer: with two layers, seven products of eight.
- `small`: the same for the shapes of POWER and BSDS300 in table 1 of the paper.
- `memory`: the resident size at its highest in one evaluation of the gradient, and in the phases
  of a fit, above what imports and data take; each in a process of its own.
- `large`: the same, and steps per minute, of a fit to 20,000 columns. Only if asked for.
- `drift`: how far the tracked log-determinant is from the exact one after 10,000 steps on MNIST,
  from `--data-dir`. Only if asked for.
- `inference`: rows per second of `score_samples` and `sample`, each at the number of rows in a
  call at which it is fastest, and without the first call, which may factorise weights.

Everything that is compared is timed in turns; figures are medians. Needs zuko and nflows.

    python benchmarks/speed.py
    python benchmarks/speed.py --only steps
    python benchmarks/speed.py --only drift --data-dir DIR
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections import defaultdict
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from _common import RESULTS, STATIC, write_csv
from _data import load_mnist
from _rivals import PEERS, Determinant, NaiveAutodiff, Published, PublishedLean
from _timing import alternate, time_calls
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from zuko.flows import MAF, NSF

from skflow import LeakyTanh, RelativeGradientFlow, SmoothLeakyReLU, default_bijections
from skflow.flow import Flow, LinearStack, Normal
from skflow.flow.products import add_product_, affine, product
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD

OPTIMIZERS = {"sgd": RelativeSGD, "relative": NormalizedRelativeSGD, "adam": Adam}
SCRIPTS = {
    "published": Published,
    "published, lean": PublishedLean,
    "determinants": Determinant,
    "full Jacobians": NaiveAutodiff,
}
# Beyond so many columns, a step takes too long.
MOST_FEATURES = {"full Jacobians": 784, "nflows QRLinear, D reflections": 784}
MOST_BYTES = 12e9

# Nothing is learned but the dense layers.
FIXED = LeakyTanh(alpha=1.0, beta=0.5)

STEP_FEATURES, STEP_ROWS, STEP_LAYERS = (64, 256, 784, 2048, 5000), (100, 10), 2
SMALL_SHAPES = {"POWER": (6, 50), "BSDS300": (63, 25)}  # columns, layers
SMALL_ROWS = (10, 100, 1000)
MEMORY_FEATURES, MEMORY_ROWS, MEMORY_EPOCHS = 5000, 1000, 5
LARGE_FEATURES, LARGE_ROWS, LARGE_EPOCHS = 20_000, 200, 5
BATCH = 100
DRIFT_STEPS, DRIFT_ROWS, DRIFT_SEEDS = 10_000, 20_000, 3
INFERENCE_FEATURES = (8, 64, 784)
INFERENCE_TRAIN, INFERENCE_ENTRIES, INFERENCE_SECONDS = 5000, 2**20, 10.0

COPY_ENTRIES = 2**26  # many times what a cache holds
MEGABYTE = 1e6

STYLES = {
    "skflow, sgd": ("tab:red", "o-"),
    "skflow, relative": ("tab:orange", "o-"),
    "skflow, adam": ("tab:pink", "o-"),
    "published": ("tab:blue", "s-"),
    "published, lean": ("tab:cyan", "s-"),
    "determinants": ("tab:brown", "D-"),
    "full Jacobians": ("0.4", "D-"),
    "nflows NaiveLinear": ("darkgreen", "^:"),
    "nflows LULinear": ("tab:green", "v:"),
    "nflows QRLinear, D reflections": ("yellowgreen", "<:"),
    "nflows QRLinear, 16 reflections": ("tab:olive", ">:"),
    "zuko MAF": ("tab:purple", "P:"),
    "zuko NSF": ("mediumpurple", "X:"),
    "roofline, PyTorch": ("0.6", "--"),
    "roofline, chosen": ("black", "--"),
}


def make_flow(n_layers, n_features):
    stack = LinearStack(n_layers, n_features, activation=SmoothLeakyReLU())
    with torch.no_grad():
        for weight in stack.weight:
            weight.add_(torch.randn(n_features, n_features), alpha=0.01)
    return Flow([stack], Normal(), n_features=n_features)


def own_step(optimizer, n_layers, n_features):
    """Return a function that trains a flow of this package on a batch."""
    flow = make_flow(n_layers, n_features)
    with torch.no_grad():
        flow.log_abs_det()  # tracked from now on, as in a fit
    # Of all rates the least, but not so small that a step is left out.
    rate = 1e-2 if optimizer == "relative" else 1e-4
    optimizer = OPTIMIZERS[optimizer](flow)

    def step(x):
        flow.relative_gradient(x)
        if not optimizer.step(rate):
            raise RuntimeError("A step was not finite, and its time means nothing.")

    return step


def roofline(n_layers, n_features, n_rows):
    """Return a function that does the matrix products of a training step and nothing else."""
    weights = [torch.eye(n_features) for _ in range(n_layers)]
    x = torch.randn(n_rows, n_features)
    stacked = torch.randn(2 * n_rows, n_features)
    products = torch.empty_like(stacked)

    def step(_):
        for weight in weights:
            torch.mm(x, weight.T, out=products[:n_rows])
        for weight in reversed(weights):
            torch.mm(stacked, weight, out=products)
        for weight in weights:
            weight.addmm_(stacked[:n_rows].T, products[n_rows:], alpha=-1e-9)

    return step


def chosen_roofline(n_layers, n_features, n_rows):
    """Return a function that does the same by the library that skflow chooses."""
    weight = torch.eye(n_features).repeat(n_layers, 1, 1)
    layers = weight.unbind()
    x = torch.randn(n_rows, n_features)
    stacked = torch.randn(2 * n_rows, n_features)
    deltas = stacked[:n_rows].T.expand(n_layers, -1, -1)
    y_weights = torch.randn(n_rows, n_features).expand(n_layers, -1, -1)

    def step(_):
        for layer in layers:
            affine(x, layer)
        for layer in reversed(layers):
            product(stacked, layer)
        add_product_(weight, deltas, y_weights, alpha=-1e-9)

    return step


ROOFLINES = {"roofline, PyTorch": roofline, "roofline, chosen": chosen_roofline}


def fits(name, n_features, n_rows):
    if name == "full Jacobians" and 6 * 4 * n_rows * n_features**2 > MOST_BYTES:
        return False
    return n_features <= MOST_FEATURES.get(name, n_features)


def time_steps(names, n_layers, n_features, n_rows, arguments):
    """Return the median seconds of a step of each contender, and of a large copy."""
    torch.manual_seed(0)
    x = torch.randn(n_rows, n_features)
    source = torch.zeros(COPY_ENTRIES)
    target = torch.zeros_like(source)
    functions = {"copy": partial(target.copy_, source)}
    for name in names:
        if not fits(name, n_features, n_rows):
            continue
        if name.startswith("skflow"):
            step = own_step(name.removeprefix("skflow, "), n_layers, n_features)
        elif name in ROOFLINES:
            step = ROOFLINES[name](n_layers, n_features, n_rows)
        else:
            step = (SCRIPTS | PEERS)[name](n_layers, n_features).step
        functions[name] = partial(step, x)
    return alternate(functions, arguments.rounds, budget=arguments.budget)


def speed_ups(seconds, name):
    own = ("sgd", "relative")
    return {f"{o}_speed_up": round(seconds[name] / seconds[f"skflow, {o}"], 2) for o in own}


def measure_steps(arguments):
    rows = []
    for n_rows in STEP_ROWS:
        for d in up_to(STEP_FEATURES, arguments):
            seconds = time_steps(STYLES, STEP_LAYERS, d, n_rows, arguments)
            copy = 2 * 4 * COPY_ENTRIES / seconds.pop("copy")
            floor = min(seconds[name] for name in ROOFLINES)
            operations = 8 * STEP_LAYERS * n_rows * d**2
            print(f"\nD = {d}, N = {n_rows}: {copy / 1e9:.1f} GB/s")
            for name in seconds:
                own = name in ROOFLINES
                rows.append(
                    {
                        "n_features": d,
                        "n_rows": n_rows,
                        "contender": name,
                        "milliseconds": round(1e3 * seconds[name], 4),
                        "over_roofline": round(seconds[name] / floor, 3),
                        **speed_ups(seconds, name),
                        "gigaflops": round(operations / seconds[name] / 1e9, 2) if own else "",
                        "copy_gigabytes_per_second": round(copy / 1e9, 2) if own else "",
                    }
                )
                print(
                    "  {contender:32}{milliseconds:12.3f} ms{over_roofline:9.2f} × roofline"
                    "{sgd_speed_up:9.2f} × sgd{relative_speed_up:9.2f} × relative".format(
                        **rows[-1]
                    ),
                    flush=True,
                )
    write_csv(RESULTS / "speed_steps.csv", rows)
    draw_steps(rows, STATIC / "speed_steps.png")


def draw_steps(rows, path):
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout="constrained")
    for ax, n_rows in zip(axes, STEP_ROWS, strict=True):
        for name, (colour, style) in STYLES.items():
            points = [
                (r["n_features"], r["milliseconds"])
                for r in rows
                if (r["n_rows"], r["contender"]) == (n_rows, name)
            ]
            ax.loglog(*zip(*points, strict=True), style, color=colour, label=name, markersize=5)
        features = sorted({r["n_features"] for r in rows})
        ax.set(title=f"batches of {n_rows} rows", xlabel="columns")
        ax.set_xticks(features, labels=features)
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("milliseconds for a training step")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    save(figure, path)


def measure_small(arguments):
    rows = []
    names = [*(f"skflow, {o}" for o in OPTIMIZERS), "published", "published, lean"]
    for shape, (d, n_layers) in SMALL_SHAPES.items():
        for n_rows in SMALL_ROWS:
            seconds = time_steps(names, n_layers, d, n_rows, arguments)
            print(f"\n{shape}: D = {d}, L = {n_layers}, N = {n_rows}")
            for name in names:
                rows.append(
                    {
                        "shape": shape,
                        "n_features": d,
                        "n_layers": n_layers,
                        "n_rows": n_rows,
                        "contender": name,
                        "milliseconds_per_1000_rows": round(1e6 * seconds[name] / n_rows, 3),
                        **speed_ups(seconds, name),
                    }
                )
                print(
                    "  {contender:20}{milliseconds_per_1000_rows:12.2f} ms for 1,000 rows"
                    "{sgd_speed_up:9.2f} × sgd{relative_speed_up:9.2f} × relative".format(
                        **rows[-1]
                    ),
                    flush=True,
                )
    write_csv(RESULTS / "speed_small.csv", rows)


class Resident:
    """The resident size of this process over its phases, sampled by a thread, in bytes.

    Sizes are above that when it was made.
    """

    def __init__(self, phase):
        self.phase = phase
        self.sizes = defaultdict(list)
        self.entered = {phase: time.perf_counter()}
        self.ended = threading.Event()
        self.start = self.now()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    @staticmethod
    def now():
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def watch(self):
        while not self.ended.wait(0.002):
            self.sizes[self.phase].append(self.now() - self.start)

    def enter(self, phase):
        if phase != self.phase:
            self.sizes[self.phase].append(self.now() - self.start)
            self.entered[phase] = time.perf_counter()
            self.phase = phase

    def end(self):
        self.enter("end")
        self.ended.set()
        self.thread.join()

    def seconds(self, phase, until):
        return self.entered[until] - self.entered[phase]


def probe_gradient(contender, n_features):
    """Return the sizes in one evaluation of the gradient of two dense layers."""
    x = torch.randn(BATCH, n_features)
    resident = Resident("before")
    if contender == "skflow":
        gradient = make_flow(STEP_LAYERS, n_features).relative_gradient
    else:
        gradient = SCRIPTS[contender](STEP_LAYERS, n_features).gradient
    resident.enter("steps")
    gradient(x)
    resident.end()
    return sizes(resident)


def probe_fit(optimizer, init, n_features, n_rows, epochs):
    """Return the sizes in the phases of a fit: before, during and after its steps."""
    X = np.random.default_rng(0).standard_normal((n_rows, n_features), dtype=np.float32)
    model = RelativeGradientFlow(
        n_layers=STEP_LAYERS,
        activation=FIXED,
        bijections=partial(default_bijections, init=init),
        optimizer=optimizer,
        batch_size=BATCH,
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
    )
    resident = Resident("before")
    enter_at_call(Flow, "relative_gradient", resident, "steps")
    enter_at_call(LinearStack, "end_training", resident, "after")
    model.fit(X)
    resident.end()
    n_steps = epochs * -(-n_rows // BATCH)
    return sizes(resident) | {
        "seconds_before": round(resident.seconds("before", "steps"), 2),
        "n_steps": n_steps,
        "steps_per_minute": round(60 * n_steps / resident.seconds("steps", "after"), 1),
    }


def enter_at_call(owner, name, resident, phase):
    original = getattr(owner, name)

    def entering(*args, **kwargs):
        resident.enter(phase)
        return original(*args, **kwargs)

    setattr(owner, name, entering)


def sizes(resident):
    def megabytes(of, phase):
        return round(of(resident.sizes[phase]) / MEGABYTE, 1) if resident.sizes[phase] else ""

    return {
        "peak_before_mb": megabytes(max, "before"),
        "median_steps_mb": megabytes(np.median, "steps"),
        "peak_steps_mb": megabytes(max, "steps"),
        "peak_after_mb": megabytes(max, "after"),
    }


def probe(kind, threads, **parameters):
    """Return what `probe_gradient` or `probe_fit` does in a process of its own."""
    request = json.dumps({"kind": kind, "threads": threads} | parameters)
    command = [sys.executable, __file__, "--probe", request]
    reply = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"  {parameters}\n    {reply.strip()}", flush=True)
    return json.loads(reply)


def answer(request):
    parameters = json.loads(request)
    kind, threads = parameters.pop("kind"), parameters.pop("threads")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # What is only loaded at its first use is no part of what is measured; of torch's optimisers
    # it is some 70 MB.
    weight = torch.randn(256, 256, requires_grad=True)
    (weight @ weight).sum().backward()
    torch.optim.Adam([weight]).step()
    RelativeGradientFlow(2, activation=FIXED, max_iter=1).fit(weight.detach().numpy())
    print(json.dumps({"gradient": probe_gradient, "fit": probe_fit}[kind](**parameters)))


def memory_row(measured, contender, init, d, n_rows, figures):
    return {
        "measured": measured,
        "contender": contender,
        "init": init,
        "n_features": d,
        "n_rows": n_rows,
        "parameters_mb": round(4 * STEP_LAYERS * (d**2 + d) / MEGABYTE, 1),
        **dict.fromkeys(
            ("peak_before_mb", "median_steps_mb", "peak_steps_mb", "peak_after_mb"), ""
        ),
        **dict.fromkeys(("seconds_before", "n_steps", "steps_per_minute"), ""),
        **figures,
    }


def fit_row(optimizer, init, d, n_rows, epochs, arguments):
    parameters = {"init": init, "n_features": d, "n_rows": n_rows, "epochs": epochs}
    figures = probe("fit", arguments.threads, optimizer=optimizer, **parameters)
    return memory_row("fit", f"skflow, {optimizer}", init, d, n_rows, figures)


def measure_memory(arguments):
    d = min(MEMORY_FEATURES, arguments.most_features)
    rows = []
    for name in ("skflow", "published", "published, lean", "determinants"):
        figures = probe("gradient", arguments.threads, contender=name, n_features=d)
        rows.append(memory_row("gradient", name, "", d, BATCH, figures))
    for init in ("orthogonal", "whiten"):
        for optimizer in OPTIMIZERS:
            rows.append(fit_row(optimizer, init, d, MEMORY_ROWS, MEMORY_EPOCHS, arguments))
    write_csv(RESULTS / "speed_memory.csv", rows)
    draw_memory(rows, STATIC / "speed_memory.png")


def measure_large(arguments):
    d = min(LARGE_FEATURES, arguments.most_features)
    rows = [
        fit_row(optimizer, "whiten", d, LARGE_ROWS, LARGE_EPOCHS, arguments)
        for optimizer in ("sgd", "relative")
    ]
    write_csv(RESULTS / "speed_large.csv", rows)


def draw_memory(rows, path):
    gradients = [r for r in rows if r["measured"] == "gradient"]
    fits = [r for r in rows if r["measured"] == "fit"]
    phases = {
        "before": ("before the first step", "tab:gray"),
        "steps": ("during the steps", "tab:red"),
        "after": ("after the last step", "tab:olive"),
    }
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), width_ratios=[2, 3], sharey=True, layout="constrained"
    )
    names = [r["contender"].replace(", ", ",\n") for r in gradients]
    bars = left.bar(names, [r["peak_steps_mb"] for r in gradients], 0.6, color="tab:red")
    left.bar_label(bars, fmt="%.0f", fontsize=8)
    for k, (phase, (label, colour)) in enumerate(phases.items()):
        heights = [r[f"peak_{phase}_mb"] for r in fits]
        middles = np.arange(len(fits)) + 0.29 * (k - 1)
        bars = right.bar(middles, heights, 0.27, color=colour, label=label)
        right.bar_label(bars, fmt="%.0f", fontsize=7)
    names = [f"{r['contender'].removeprefix('skflow, ')}\n{r['init']}" for r in fits]
    right.set_xticks(np.arange(len(fits)), labels=names)
    parameters = rows[0]["parameters_mb"]
    left.axhline(2 * parameters, color="black", linestyle="--", label="parameters and gradients")
    for ax in (left, right):
        ax.axhline(parameters, color="black", linestyle=":", label="parameters")
        ax.margins(y=0.3)
        ax.legend(fontsize=8, loc="upper left")
    left.set(title="one gradient", ylabel="highest resident size in MB")
    right.set(title="phases of a fit")
    figure.suptitle(f"two dense layers of {rows[0]['n_features']:,} columns", fontsize=11)
    save(figure, path)


def measure_drift(arguments):
    train, _ = load_mnist(arguments.data_dir)
    epochs = DRIFT_STEPS * BATCH // DRIFT_ROWS
    rows = []
    for seed in range(DRIFT_SEEDS):
        model = RelativeGradientFlow(
            n_layers=STEP_LAYERS,
            activation=FIXED,
            batch_size=BATCH,
            max_iter=epochs,
            early_stopping=False,
            random_state=seed,
        )
        started = time.perf_counter()
        model.fit(train[:DRIFT_ROWS])
        rows.append(
            {
                "n_features": train.shape[1],
                "n_layers": STEP_LAYERS,
                "n_steps": epochs * (DRIFT_ROWS // BATCH),
                "seed": seed,
                "log_det": round(model.log_det_, 3),
                "drift": f"{model.log_det_drift_:.2e}",
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
        print("  log-determinant {log_det}, drift {drift} nats".format(**rows[-1]), flush=True)
    write_csv(RESULTS / "speed_drift.csv", rows)


def own_model(train, **parameters):
    model = RelativeGradientFlow(
        max_iter=1, early_stopping=False, random_state=0, **parameters
    ).fit(train)
    return model.score_samples, model.sample


def zuko_model(kind, train):
    flow = kind(train.shape[1])()
    return (
        torch.no_grad()(lambda X: flow.log_prob(torch.from_numpy(X))),
        torch.no_grad()(lambda n: flow.sample((n,))),
    )


def sklearn_model(model, train):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mixture has not converged
        model.fit(train.astype(float))
    return model.score_samples, model.sample


# What a call costs does not depend on the weights, so that none is trained for long.
MODELS = {
    "skflow": own_model,
    "skflow, fixed activation": lambda train: own_model(train, activation=FIXED),
    "zuko MAF": lambda train: zuko_model(MAF, train),
    "zuko NSF": lambda train: zuko_model(NSF, train),
    "KernelDensity": lambda train: sklearn_model(KernelDensity(), train),
    "GaussianMixture": lambda train: sklearn_model(
        GaussianMixture(20, init_params="random", max_iter=1, random_state=0), train
    ),
}


def best_n_rows(call, most):
    """Return the number of rows at which `call` does most rows in a second."""
    best, best_rate, n = 1, 0.0, 1
    call(1)
    while n <= most:
        seconds = time_calls(partial(call, n))
        if n / seconds > best_rate:
            best, best_rate = n, n / seconds
        if seconds > INFERENCE_SECONDS:
            break
        n *= 4
    return best


def time_inference(d, arguments):
    """Return, for each model and what it does, the rows in a call and the median seconds."""
    torch.manual_seed(0)
    most = INFERENCE_ENTRIES // d
    X = np.random.default_rng(0).standard_normal((most, d), dtype=np.float32)
    calls = {}
    for name, make in MODELS.items():
        score, sample = make(X[:INFERENCE_TRAIN])
        calls[name, "score"] = lambda n, score=score: score(X[:n])
        calls[name, "sample"] = sample
    n_rows = {key: best_n_rows(call, most) for key, call in calls.items()}
    functions = {key: partial(call, n_rows[key]) for key, call in calls.items()}
    return n_rows, alternate(functions, arguments.rounds, budget=arguments.budget)


def measure_inference(arguments):
    rows = []
    for d in up_to(INFERENCE_FEATURES, arguments):
        n_rows, seconds = time_inference(d, arguments)
        rates = {key: n_rows[key] / seconds[key] for key in n_rows}
        print(f"\nD = {d}")
        for name in MODELS:
            score, sample = rates[name, "score"], rates[name, "sample"]
            rows.append(
                {
                    "n_features": d,
                    "model": name,
                    "score_rows": n_rows[name, "score"],
                    "score_rows_per_second": f"{score:.4g}",
                    "sample_rows": n_rows[name, "sample"],
                    "sample_rows_per_second": f"{sample:.4g}",
                    "sample_time_over_score_time": f"{score / sample:.4g}",
                    "score_speed_up": f"{rates['skflow', 'score'] / score:.4g}",
                    "sample_speed_up": f"{rates['skflow', 'sample'] / sample:.4g}",
                }
            )
            print(
                "  {model:26}score {score_rows_per_second:>10} rows/s, "
                "sample {sample_rows_per_second:>10} rows/s; skflow is {score_speed_up:>8} and "
                "{sample_speed_up:>8} times as fast".format(**rows[-1]),
                flush=True,
            )
    write_csv(RESULTS / "speed_inference.csv", rows)


def up_to(features, arguments):
    return [d for d in features if d <= arguments.most_features]


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


PARTS = {
    "steps": measure_steps,
    "small": measure_small,
    "memory": measure_memory,
    "inference": measure_inference,
    "large": measure_large,
    "drift": measure_drift,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = [name for name in PARTS if name not in ("large", "drift")]
    parser.add_argument("--only", nargs="+", choices=PARTS, default=default)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=30, help="turns of each contender")
    parser.add_argument(
        "--budget", type=float, default=30.0, help="seconds for each contender at each shape"
    )
    parser.add_argument(
        "--most-features", type=int, default=LARGE_FEATURES, help="leave larger shapes out"
    )
    parser.add_argument("--data-dir", help="where the benchmarks' data are, for `drift`")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        answer(arguments.probe)
        return
    if "drift" in arguments.only and arguments.data_dir is None:
        parser.error("drift needs --data-dir")
    torch.set_num_threads(arguments.threads)
    for name in arguments.only:
        print(f"\n{name}", flush=True)
        PARTS[name](arguments)


if __name__ == "__main__":
    main()
