"""The default optimiser against Adam and SGD on seven data sets, and against variants of itself.

All contenders of a data set take the same batches from the same whitened start, on a learning
rate that warms up and falls on a cosine. Scores are mean log-likelihoods of up to 2,000 validation
rows after the last step, in nats per row and in the units of the data. Times are the median step
times the number of steps, without validation.

- `against`: Adam is given the best of three or of four learning rates, SGD the best of three, the
  default optimiser its default. It is also fitted on complete schedules of fewer steps: the table
  says with what share of them, and in what time, it reaches what Adam has after all of them.
  Means over the seeds.
- `variants`: one change at a time, on five of the data sets.

    python benchmarks/optimizers.py --data-dir DIR
"""

import argparse
import math
import time
from copy import deepcopy
from functools import cache, partial
from itertools import chain, repeat
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from _common import RESULTS, STATIC, write_csv
from _data import load_bsds300, load_mnist, load_table

from skflow.flow import (
    Factors,
    Flow,
    LeakyTanh,
    LinearStack,
    Normal,
    SmoothLeakyReLU,
    Standardize,
)
from skflow.training.batches import Batches
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD, schatten_norms
from skflow.training.rows import Rows
from skflow.training.schedule import annealing
from skflow.training.scores import mean_log_prob

N_VALIDATION = 2000
N_START = 20_000  # rows that the start is computed from
N_SCORES = 20  # validation scores along a fit
SHARES = (0.25, 0.5, 1.0)  # of the steps, in which to reach Adam

COLORS = {"relative": "#0072b2", "Adam": "#d55e00", "SGD": "0.55"}

# Learning rates for Adam: around its usual one, and with the best one inside.
ADAM_GRIDS = ((3e-4, 1e-3, 3e-3), (3e-4, 1e-3, 3e-3, 1e-2))

# name: optimiser, learning rates; None is the optimiser's default
CONTENDERS = {
    "relative": (NormalizedRelativeSGD, (None,)),
    "Adam": (Adam, ADAM_GRIDS[-1]),
    "SGD": (RelativeSGD, (0.005, 0.02, 0.05)),
}


class Setting(NamedTuple):
    """A data set, the network for it, and how long to train."""

    load: object
    n_layers: int
    activation: object
    batch_size: int
    n_steps: int
    n_steps_of_variants: int = 0  # none are fitted


def table(name):
    return lambda data_dir: load_table(data_dir, name)[:2]


on_table = partial(Setting, n_layers=5, activation=LeakyTanh(1, 0.5), batch_size=100, n_steps=2000)
SETTINGS = {
    "MNIST": Setting(load_mnist, 2, SmoothLeakyReLU(0.3), 100, 1500, 600),
    "BSDS300": Setting(
        lambda data_dir: load_bsds300(data_dir, patches_per_image=2000),
        *(6, LeakyTanh(1, 0.1), 256, 3000, 1000),
    ),
    "magic_gamma": on_table(table("magic_gamma"), n_steps_of_variants=1000),
    "pendigits": on_table(table("pendigits")),
    "landsat": on_table(table("landsat")),
    "spambase": on_table(table("spambase"), n_steps_of_variants=1000),
    "optdigits": on_table(table("optdigits"), n_steps_of_variants=1000),
}


class Problem:
    """The standardised rows of a data set, and the start of every fit to them."""

    def __init__(self, name, data_dir):
        self.setting = SETTINGS[name]
        train, validation = (torch.from_numpy(rows) for rows in self.setting.load(data_dir))
        # Patches lie image by image: a stride takes some of each.
        validation = validation[:: -(-len(validation) // N_VALIDATION)]
        standardize = Standardize.from_rows(train)
        self.offset = standardize.log_det
        self.train, self.validation = Rows(standardize(train)), Rows(standardize(validation))
        self.start = cache(self._start)

    def _start(self, seed):
        generator = torch.Generator().manual_seed(seed)
        d = self.train.data.shape[1]
        stack = LinearStack(self.setting.n_layers, d, activation=self.setting.activation)
        flow = Flow([stack], Normal(), n_features=d)
        rows = torch.randperm(len(self.train), generator=generator)[:N_START]
        flow.initialize(self.train.take(rows), generator)
        return flow


class Fit(NamedTuple):
    """What came of a fit: NaN where a step was not finite."""

    nats: float
    step_seconds: float
    n_steps: int
    curve: list[tuple[int, float]]

    @property
    def seconds(self):
        return self.n_steps * self.step_seconds


def fit(problem, optimizer, rate, n_steps, *, seed=0, batch_size=None, schedule=annealing):
    flow = deepcopy(problem.start(seed))
    optimizer = optimizer(flow)
    generator = torch.Generator().manual_seed(seed)
    batches = Batches(problem.train, batch_size or problem.setting.batch_size, generator)
    rate = optimizer.default_rate(batches.batch_size) if rate is None else rate
    batches = chain.from_iterable(repeat(batches))
    curve, seconds = [], []
    for step in range(n_steps):
        if step % (n_steps // N_SCORES) == 0:
            curve.append((step, mean_log_prob(flow, problem.validation) + problem.offset))
        started = time.perf_counter()
        batch = next(batches)
        flow.relative_gradient(batch.x, batch.weights)
        taken = optimizer.step(rate * schedule(step / n_steps))
        seconds.append(time.perf_counter() - started)
        if not taken:
            return Fit(math.nan, float(np.median(seconds)), n_steps, curve)
    curve.append((n_steps, mean_log_prob(flow, problem.validation) + problem.offset))
    return Fit(curve[-1][1], float(np.median(seconds)), n_steps, curve)


def against(name, problem, seeds):
    """Return the rows of the table, and those of the curves."""

    @cache
    def fits(contender, rate, share):
        optimizer, _ = CONTENDERS[contender]
        n_steps = round(share * problem.setting.n_steps)
        runs = [fit(problem, optimizer, rate, n_steps, seed=seed) for seed in range(seeds)]
        part = f"{share:g} of the steps" if share < 1 else ""
        nats = mean(runs, "nats")
        print(f"{name:12} {contender:9}{rate or 'default':>8}{nats:12.3f}  {part}", flush=True)
        return runs

    def best_rate(contender, rates):
        scores = [mean(fits(contender, rate, 1.0), "nats") for rate in rates]
        return rates[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]

    best = {contender: best_rate(contender, rates) for contender, (_, rates) in CONTENDERS.items()}
    relative, sgd = fits("relative", None, 1.0), fits("SGD", best["SGD"], 1.0)
    table = []
    for rates in ADAM_GRIDS:
        adam_rate = best_rate("Adam", rates)
        adam = fits("Adam", adam_rate, 1.0)
        for share in SHARES:
            reached = fits("relative", None, share)
            if matched := mean(reached, "nats") >= mean(adam, "nats"):
                break
        table.append(
            {
                "data": name,
                "n_features": problem.train.data.shape[1],
                "n_steps": problem.setting.n_steps,
                "adam_rates_tried": " ".join(map(str, rates)),
                "relative_nats": round(mean(relative, "nats"), 4),
                "adam_nats": round(mean(adam, "nats"), 4),
                "adam_rate": adam_rate,
                "sgd_nats": round(mean(sgd, "nats"), 4),
                "sgd_rate": best["SGD"],
                "relative_step_ms": round(1e3 * mean(relative, "step_seconds"), 4),
                "adam_step_ms": round(1e3 * mean(adam, "step_seconds"), 4),
                "sgd_step_ms": round(1e3 * mean(sgd, "step_seconds"), 4),
                "steps_share_to_match": share if matched else "",
                "seconds_relative": round(mean(reached, "seconds"), 3) if matched else "",
                "seconds_adam": round(mean(adam, "seconds"), 3),
                "relative_wins": mean(relative, "nats") > mean(adam, "nats"),
            }
        )
    curves = [
        {
            "data": name,
            "contender": contender,
            "rate": rate or "default",
            "seed": seed,
            "steps": steps,
            "seconds": round(steps * run.step_seconds, 4),
            "nats": round(nats, 4),
        }
        for contender, rate in best.items()
        for seed, run in enumerate(fits(contender, rate, 1.0))
        for steps, nats in run.curve
    ]
    return table, curves


def mean(fits, what):
    return float(np.mean([getattr(run, what) for run in fits]))


class Memoryless(RelativeSGD):
    """The default optimiser where a batch has fewer rows than columns, wherever it is."""

    def norm(self):
        return max(float(schatten_norms(stack.factors).max()) for stack in self.layers)

    def _apply(self, rate, groups, penalty):
        super()._apply(rate / max(1.0, self.norm()), groups, penalty)


class Frobenius(Memoryless):
    def norm(self):
        return float(torch.linalg.vector_norm(relative_gradient(self), dim=(1, 2)).max())


class Spectral(Memoryless):
    def norm(self):
        (stack,) = self.layers
        delta, y, *_ = stack.factors
        if 2 * y.shape[1] < y.shape[2]:
            # Outside the span of the rows of δ and y, S is −I, whose norm of 1 needs no finding.
            basis = torch.linalg.qr(torch.cat([delta, y], 1).mT).Q
            delta, y = delta @ basis, y @ basis
        relative = stack.factors._replace(delta=delta, y=y).relative()
        return float(torch.linalg.matrix_norm(relative, 2).max())


class Dense(Memoryless):
    """What does something with S, and with its column for the bias, before the step."""

    def change(self, relative):
        raise NotImplementedError

    def norm(self):
        (stack,) = self.layers
        of_bias = stack.factors.delta.sum(1).unsqueeze(2)
        self.changed = self.change(torch.cat([relative_gradient(self), of_bias], 2))
        square = self.changed[..., :-1] @ self.changed[..., :-1].mT
        return float(torch.linalg.vector_norm(square, dim=(1, 2)).sqrt().max())

    def _apply(self, rate, groups, penalty):
        (stack,) = self.layers
        rate /= max(1.0, self.norm())
        ones = torch.ones_like(stack.bias[:, :1])
        augmented = torch.cat([stack.bias, ones], 1).unsqueeze(2)
        stack.bias.sub_((self.changed @ augmented).squeeze(2), alpha=rate)
        stack.weight.sub_(self.changed[..., :-1] @ stack.weight, alpha=rate)


class Scaled(Dense):
    """Scales the rows and columns of S by running means of E[δᵢ²] and E[yⱼ²], to the −½."""

    moments = None

    def change(self, relative):
        (stack,) = self.layers
        delta, y, *_ = stack.factors
        # δ is of the mean loss: that of a row is N times as large.
        new = torch.stack([(delta * y.shape[1]).square().mean(1), y.square().mean(1)])
        self.moments = new if self.moments is None else torch.lerp(self.moments, new, 0.02)
        left, right = self.moments.rsqrt()
        right = torch.cat([right, torch.ones_like(right[:, :1])], 1)
        return left.unsqueeze(2) * relative * right.unsqueeze(1)


class Momentum(Dense):
    """Replaces S by its running mean: a state of the size of the weights, half that of Adam."""

    n_steps, mean, decay = 0, 0.0, 0.9

    def change(self, relative):
        self.n_steps += 1
        self.mean = self.decay * self.mean + (1 - self.decay) * relative
        return self.mean / (1 - self.decay**self.n_steps)


class Averaged(Memoryless):
    """Averages S over a batch and the one before it, which has half the weight."""

    last = None

    @torch.no_grad()
    def step(self, rate, *args):
        (stack,) = self.layers
        new = [factor.clone() for factor in stack.factors[:2]]
        if self.last is not None:
            delta = torch.cat([new[0] / 1.5, self.last[0] / 3], 1)
            y = torch.cat([new[1], self.last[1]], 1)
            is_wide = y.shape[1] < y.shape[2]
            stack.factors = Factors(delta, y, y @ stack.weight if is_wide else None)
        self.last = new
        return super().step(rate, *args)


def relative_gradient(optimizer):
    (stack,) = optimizer.layers
    return stack.factors.relative()


def constant(progress):
    return min(1.0, progress / 0.02)


def linear(progress):
    return min(progress / 0.02, (1 - progress) / 0.98)


# variant, value: what differs from the default, or from it without a memory; `eta` is η₀ √L, and
# 0.4 by default
VARIANTS = {
    ("default", ""): {"optimizer": NormalizedRelativeSGD, "eta": None},
    ("memoryless", ""): {},
    **{("rate", eta): {"eta": eta} for eta in (0.1, 0.2, 0.8)},
    **{("Frobenius, rate", eta): {"eta": eta, "optimizer": Frobenius} for eta in (0.4, 0.8, 1.6)},
    **{("spectral, rate", eta): {"eta": eta, "optimizer": Spectral} for eta in (0.2, 0.4, 0.8)},
    ("schedule", "constant"): {"schedule": constant},
    ("schedule", "linear"): {"schedule": linear},
    **{("batch size", size): {"batch_size": size} for size in (50, 100, 200, 400)},
    ("rows and columns", "scaled"): {"optimizer": Scaled},
    ("two batches", "averaged"): {"optimizer": Averaged},
    **{("momentum, rate", eta): {"eta": eta, "optimizer": Momentum} for eta in (0.1, 0.2, 0.4)},
}


def fit_variant(problem, *, optimizer=Memoryless, eta=0.4, batch_size=None, **kwargs):
    n_layers, _, default_size, _, n_steps = problem.setting[1:]
    if batch_size is not None:
        n_steps = n_steps * default_size // batch_size  # of equally many rows
    rate = eta and eta / math.sqrt(n_layers)
    return fit(problem, optimizer, rate, n_steps, batch_size=batch_size, **kwargs)


def variants(name, problem):
    """Return the rows of the table."""
    rows = []
    for (variant, value), changes in VARIANTS.items():
        run = fit_variant(problem, **changes)
        rows.append(
            {
                "data": name,
                "variant": variant,
                "value": value,
                "n_steps": run.n_steps,
                "nats": round(run.nats, 4),
                "step_ms": round(1e3 * run.step_seconds, 4),
            }
        )
        print(f"{name:12} {variant:18}{value:>10}{run.nats:12.3f}", flush=True)
    return rows


def draw_curves(rows, path):
    names = list(dict.fromkeys(row["data"] for row in rows))
    figure, axes = plt.subplots(2, 4, figsize=(11, 5), layout="constrained")
    for ax, name in zip(axes.flat, names, strict=False):
        floor = []
        for contender, color in COLORS.items():
            runs = {}
            for row in rows:
                if (row["data"], row["contender"]) == (name, contender):
                    runs.setdefault(row["seed"], []).append((row["steps"], row["nats"]))
            for run in runs.values():
                ax.plot(*zip(*run, strict=True), color=color, linewidth=1.2, alpha=0.8)
                floor.append(run[0][1])
        top = max(row["nats"] for row in rows if row["data"] == name)
        low = min(floor)
        ax.set(title=name, ylim=(low - 0.1 * (top - low), top + 0.06 * (top - low)))
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel("validation nats")
    for ax in axes.flat[len(names) - 4 : len(names)]:
        ax.set_xlabel("steps")
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    handles = []
    for contender, (_, rates) in CONTENDERS.items():
        of_rates = f"best of {len(rates)} rates" if len(rates) > 1 else "default rate"
        label = f"{contender}, {of_rates}"
        handles.append(plt.Line2D([], [], color=COLORS[contender], label=label))
    axes.flat[-1].legend(handles=handles, loc="center", frameon=False)
    figure.savefig(path, dpi=110)


def draw_variants(rows, path):
    names = list(dict.fromkeys(row["data"] for row in rows))
    labels = [f"{variant} {value}" for variant, value in VARIANTS]
    reference = list(VARIANTS).index(("memoryless", ""))
    figure, axes = plt.subplots(1, len(names), figsize=(11, 5), sharey=True, layout="constrained")
    for ax, name in zip(axes, names, strict=True):
        nats = np.array([row["nats"] for row in rows if row["data"] == name])
        gains = nats - nats[reference]
        lowest = -1.5 * np.nanmax(gains)
        shown = np.fmax(gains, lowest)  # what is lower, or not finite, is an arrow at the edge
        ax.axvline(0, color="0.7", linewidth=1)
        for gain, label in zip(shown, labels, strict=True):
            marker = "<" if gain == lowest else "o"
            ax.plot(gain, label, marker, color=COLORS["relative"], markersize=5)
        ax.set(title=name)
        ax.grid(axis="y", color="0.93")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=8)
    axes[0].invert_yaxis()
    figure.supxlabel("validation nats above those of the memoryless step", fontsize=10)
    figure.savefig(path, dpi=110)


def print_summary(table):
    for rates in ADAM_GRIDS:
        tried = " ".join(map(str, rates))
        rows = [row for row in table if row["adam_rates_tried"] == tried]
        print(f"\nbest of {len(rates)} rates for Adam: nats, and when Adam's are reached")
        print(
            f"{'':12}{'relative':>11}{'Adam':>11}{'SGD':>11}{'of steps':>11}{'s':>8}{'Adam s':>8}"
        )
        for row in rows:
            print(
                "{data:12}{relative_nats:11.3f}{adam_nats:11.3f}{sgd_nats:11.3f}"
                "{steps_share_to_match:>11}{seconds_relative:>8}{seconds_adam:>8}".format(**row)
            )
        reached = [row for row in rows if row["steps_share_to_match"]]
        in_time = sum(row["seconds_relative"] <= row["seconds_adam"] for row in reached)
        wins = sum(row["relative_wins"] for row in rows)
        print(f"reached in no more steps and no more time: {in_time}; better: {wins}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", required=True, help="a folder as _data.py describes it")
    parser.add_argument("--only", choices=("against", "variants"), help="one part of the study")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # most of these matrices are not worth a second thread
    table, curves, changed = [], [], []
    for name, setting in SETTINGS.items():
        problem = Problem(name, arguments.data_dir)
        if arguments.only != "variants":
            of_problem = against(name, problem, arguments.seeds)
            table += of_problem[0]
            curves += of_problem[1]
        if arguments.only != "against" and setting.n_steps_of_variants:
            changed += variants(name, problem)
    if table:
        print_summary(table)
        write_csv(RESULTS / "optimizers.csv", table)
        write_csv(RESULTS / "optimizers_curves.csv", curves)
        draw_curves(curves, STATIC / "optimizers_curves.png")
    if changed:
        write_csv(RESULTS / "optimizers_variants.csv", changed)
        draw_variants(changed, STATIC / "optimizers_variants.png")


if __name__ == "__main__":
    main()
