"""What skflow does, in two minutes: fit, compare, search, use the latents, draw.

    python -m tox run -e demo

Real data that scikit-learn bundles and two toy densities whose true log-density is known. All
scores are mean log-likelihoods of held-out rows, in nats and in the units of the data; higher is
better. Pictures go to the folder that ``--output`` names.
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import RelativeGradientFlow
from skflow.datasets import half_moons, sine
from skflow.exceptions import ColumnWarning

TOYS = {"half moons": half_moons(), "sine": sine()}
LOADERS = {
    "digits": load_digits,
    "breast cancer": load_breast_cancer,
    "wine": load_wine,
    "diabetes": load_diabetes,
}

INK, MUTED, FLOW, PEER = "#22223b", "#8d99ae", "#c8553d", "#3d5a80"
DARK, LIGHT = plt.get_cmap("magma")(0.0), "#fcf3d0"


def say(text=""):
    print(text, flush=True)


def title(text):
    say(f"\n{text}\n{'─' * len(text)}")


def load(name):
    """Return training and held-out rows."""
    if name in TOYS:
        return TOYS[name].sample(5000, random_state=0), TOYS[name].sample(2000, random_state=1)
    X = LOADERS[name]().data.astype(float)
    if name == "digits":
        X += np.random.default_rng(0).uniform(size=X.shape)
    if name == "diabetes":
        X = np.delete(X, 1, axis=1)
    return train_test_split(X, test_size=0.2, random_state=0)


def on_standardized(train, test, search):
    """Fit to standardised columns, and score in nats in the units of the data."""
    scaler = StandardScaler().fit(train)
    model = search(scaler.transform(train))
    log_density = model.score_samples(scaler.transform(test))
    return model, log_density.mean() - np.log(scaler.scale_).sum()


def mixture_by_bic(X, patience=3):
    """Return the Gaussian mixture with the lowest BIC; add components until it has risen."""
    best, best_bic, since = None, np.inf, 0
    for n_components in (*range(1, 13), *range(14, 41, 2)):
        model = GaussianMixture(n_components, random_state=0, max_iter=200).fit(X)
        bic, since = model.bic(X), since + 1
        if bic < best_bic:
            best, best_bic, since = model, bic, 0
        if since == patience:
            break
    return best


def kernel_density_by_search(X):
    """Return the kernel density with the bandwidth that is best in cross-validation."""
    bandwidths = np.geomspace(0.04, 1.2, 12)
    search = GridSearchCV(KernelDensity(rtol=1e-3), {"bandwidth": bandwidths}, cv=3)
    return search.fit(X).best_estimator_


def compare():
    title("Held-out log-likelihood")
    say("Flow: RelativeGradientFlow with its defaults.")
    say(
        "Peers: GaussianMixture with components by BIC, KernelDensity with its bandwidth searched."
    )
    say("Pixels of digits are whole numbers: uniform noise in [0, 1) makes them continuous.")
    say("Of diabetes, the column of two values is left out: it has no density.\n")
    flows, scores = {}, {}
    for name in (*TOYS, *LOADERS):
        train, test = load(name)
        say(f"{name}: {train.shape[0]} rows, {train.shape[1]} columns")
        started = time.perf_counter()
        flow = RelativeGradientFlow(random_state=0).fit(train)
        say(f"    flow: {flow.n_iter_} epochs in {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
        mixture, mixture_score = on_standardized(train, test, mixture_by_bic)
        kernel, kernel_score = on_standardized(train, test, kernel_density_by_search)
        flows[name] = flow
        scores[name] = {
            "flow": flow.score(test),
            "mixture": mixture_score,
            "kernel": kernel_score,
            "truth": TOYS[name].score(test) if name in TOYS else None,
            "components": mixture.n_components,
            "bandwidth": kernel.bandwidth,
        }
        say(f"    peers: {time.perf_counter() - started:.1f} s")

    say(
        f"\n{'nats, best marked *':22}{'flow':>9} {'Gaussian mixture':>18} {'kernel density':>18}"
        f" {'truth':>9}"
    )
    for name, score in scores.items():
        best = max(score[model] for model in ("flow", "mixture", "kernel"))
        cells = {
            model: f"{score[model]:.2f}{'*' if score[model] == best else ' '}"
            for model in ("flow", "mixture", "kernel")
        }
        truth = "" if score["truth"] is None else f"{score['truth']:.2f}"
        say(
            f"{name:22}{cells['flow']:>9}"
            f" {cells['mixture']:>11}(k={score['components']:>2})"
            f" {cells['kernel']:>10}(h={score['bandwidth']:.2f}) {truth:>8}"
        )
    return flows, scores


def search():
    title("A grid search over coupling and depth")
    say("breast cancer, 3-fold, GridSearchCV with nothing but the estimator ...\n")
    train, test = load("breast cancer")
    grid = {"n_layers": [3, 6], "coupling": ["affine", "spline"]}
    found = GridSearchCV(RelativeGradientFlow(random_state=0), grid, cv=3).fit(train)
    results = found.cv_results_
    say(f"{'coupling':12}{'layers':>7}{'cross-validated nats':>24}")
    for rank in np.argsort(results["rank_test_score"]):
        parameters = results["params"][rank]
        say(
            f"{parameters['coupling']:12}{parameters['n_layers']:>7}"
            f"{results['mean_test_score'][rank]:>15.2f} ± {results['std_test_score'][rank]:.2f}"
        )
    say(f"\nthe best, fitted to all training rows: {found.score(test):.2f} nats on held-out rows")


def classify():
    title("Latents before a classifier")
    say("digits, logistic regression after standardisation or after a flow in the Pipeline ...\n")
    train, test = load("digits")
    y_train, y_test = train_test_split(load_digits().target, test_size=0.2, random_state=0)
    features = {
        "pixels": StandardScaler(),
        "latents": RelativeGradientFlow(random_state=0),
    }
    say(f"{'features':12}{'held-out accuracy':>18}")
    for name, step in features.items():
        pipeline = make_pipeline(step, LogisticRegression(max_iter=1000)).fit(train, y_train)
        say(f"{name:12}{pipeline.score(test, y_test):>18.3f}")


def draw_toys(flows, path):
    figure, axes = plt.subplots(len(TOYS), 3, figsize=(9, 4.15), layout="constrained")
    for row, (name, density) in zip(axes, TOYS.items(), strict=True):
        data, _ = load(name)
        flow = flows[name]
        (x0, y0), (x1, y1) = data.min(0), data.max(0)
        pad = 0.06 * (x1 - x0)
        x0, x1, y0, y1 = x0 - pad, x1 + pad, y0 - pad, y1 + pad
        points = np.stack(np.meshgrid(np.linspace(x0, x1, 400), np.linspace(y0, y1, 300)), -1)
        fitted = np.exp(flow.score_samples(points.reshape(-1, 2))).reshape(300, 400)
        peak = np.exp(density.score_samples(data)).max()
        for ax, drawn in zip(row, (data, flow.sample(len(data), random_state=0)), strict=False):
            ax.scatter(*drawn.T, s=2.2, color=LIGHT, alpha=0.5, linewidths=0)
        row[2].imshow(
            fitted, origin="lower", extent=[x0, x1, y0, y1], cmap="magma", vmin=0, vmax=peak
        )
        for ax in row:
            ax.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal", xticks=[], yticks=[])
            ax.set_facecolor(DARK)
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(name, color=INK, fontsize=12)
    headings = ["data", "samples of the flow", "density of the flow"]
    for ax, heading in zip(axes[0], headings, strict=True):
        ax.set_title(heading, color=INK, fontsize=12)
    figure.savefig(path, dpi=110)


def draw_digits(flow, path):
    _, test = load("digits")
    n_rows, n_columns = 7, 9
    blocks = {
        "held-out digits": test[: n_rows * n_columns],
        "samples of the flow": flow.sample(n_rows * n_columns, random_state=0),
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.82), layout="constrained")
    for ax, (heading, images) in zip(axes, blocks.items(), strict=True):
        # The floor takes the uniform noise away again.
        images = np.floor(images).clip(0, 16).reshape(n_rows, n_columns, 8, 8)
        sheet = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)])
        ax.imshow(np.block([list(row) for row in sheet]), cmap="magma", interpolation="nearest")
        ax.set_title(heading, color=INK, fontsize=12)
        ax.axis("off")
    figure.savefig(path, dpi=110)


def validation_curve(flow):
    """Return the scores of held-out rows, by epoch.

    Few rows are all fitted in the end: then those of the fit that chose for how long.
    """
    if not flow.candidates_:
        return flow.validation_scores_
    chosen = max(flow.candidates_, key=lambda candidate: candidate["best_validation_score"])
    return chosen["validation_scores"]


def draw_training(flows, scores, path):
    figure, axes = plt.subplots(2, 3, figsize=(10, 5.4), layout="constrained")
    for ax, (name, flow) in zip(axes.flat, flows.items(), strict=True):
        curve, score = np.array(validation_curve(flow)), scores[name]
        epochs = np.arange(1, len(curve) + 1)
        ax.plot(epochs, curve, color=FLOW, linewidth=1.6)
        ax.plot(len(curve), score["flow"], "o", color=FLOW, markersize=6, clip_on=False)
        ax.axhline(score["mixture"], color=PEER, linewidth=1.2)
        levels = [score["flow"], score["mixture"], curve.max(), np.quantile(curve, 0.1)]
        if score["truth"] is not None:
            ax.axhline(score["truth"], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
            levels.append(score["truth"])
        margin = 0.12 * (max(levels) - min(levels))
        ax.set_ylim(min(levels) - margin, max(levels) + margin)
        ax.set_xlim(0, len(curve))
        ax.set_title(name, loc="left", color=INK, fontsize=11)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(MUTED)
        ax.tick_params(colors=INK, labelsize=8, length=3, color=MUTED)
        ax.locator_params(nbins=5)
    for ax in axes[1]:
        ax.set_xlabel("epoch", color=INK, fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel("log-likelihood, nats", color=INK, fontsize=9)
    handles = [
        plt.Line2D([], [], color=FLOW, label="flow, validation rows"),
        plt.Line2D([], [], color=FLOW, marker="o", linestyle="", label="flow, held-out rows"),
        plt.Line2D([], [], color=PEER, label="Gaussian mixture, held-out rows"),
        plt.Line2D([], [], color=MUTED, linestyle=(0, (4, 3)), label="truth, held-out rows"),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, frameon=False, labelcolor=INK
    )
    figure.savefig(path, dpi=110)


def draw(flows, scores, folder):
    title("Pictures")
    folder.mkdir(parents=True, exist_ok=True)
    draw_toys(flows, folder / "toys.png")
    draw_digits(flows["digits"], folder / "digits.png")
    draw_training(flows, scores, folder / "training.png")
    for name in ("toys", "digits", "training"):
        say(f"{(folder / name).resolve()}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--output", type=Path, default=Path("demo-pictures"), help="the folder for the pictures"
    )
    arguments = parser.parse_args()
    # Some columns of wine and diabetes are rounded. They stay so, and all models see the same.
    warnings.simplefilter("ignore", ColumnWarning)
    torch.set_num_threads(1)  # matrices this small are not worth a second thread
    started = time.perf_counter()
    flows, scores = compare()
    search()
    classify()
    draw(flows, scores, arguments.output)
    say(f"\ndone in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
