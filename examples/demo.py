"""What skflow does, in about a minute: fit, compare, search, use the latents, draw.

    python -m tox run -e demo

Six densities in the plane whose true log-density is known, and real data that scikit-learn
bundles. All scores are mean log-likelihoods of held-out rows, in nats and in the units of the
data; higher is better. Pictures go to the folder that ``--output`` names.
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.datasets import Checkerboard, Pinwheel, gaussian_ring, half_moons, rings, two_spirals
from skflow.exceptions import ColumnWarning
from skflow.inspection import ConditionalDensityDisplay

PLANE = {
    "half moons": half_moons(),
    "rings": rings(),
    "checkerboard": Checkerboard(),
    "eight Gaussians": gaussian_ring(noise=0.3),
    "pinwheel": Pinwheel(),
    "two spirals": two_spirals(),
}
TABLES = {
    "digits": load_digits,
    "breast cancer": load_breast_cancer,
    "wine": load_wine,
    "diabetes": load_diabetes,
}

INK, MUTED, FLOW, PEER = "#22223b", "#8d99ae", "#c8553d", "#3d5a80"
DARK, LIGHT = plt.get_cmap("magma")(0.0), "#fcf3d0"


def say(text="", end="\n"):
    print(text, end=end, flush=True)


def title(text):
    say(f"\n{text}\n{'─' * len(text)}")


def load(name):
    """Return training and held-out rows."""
    if name in PLANE:
        return PLANE[name].sample(1000, random_state=0), PLANE[name].sample(5000, random_state=1)
    X = TABLES[name]().data.astype(float)
    if name == "digits":
        X += np.random.default_rng(0).uniform(size=X.shape)
    if name == "diabetes":
        X = np.delete(X, 1, axis=1)
    return train_test_split(X, test_size=0.2, random_state=0)


def score_on_standardized(train, test, fit):
    """Fit to standardised columns, and score in nats in the units of the data."""
    scaler = StandardScaler().fit(train)
    model = fit(scaler.transform(train))
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


def measure(name):
    """Fit a flow and its peers to one data set; return the flow and the scores of all."""
    # Some columns of wine and diabetes are rounded. They stay so, and all models see the same.
    warnings.simplefilter("ignore", ColumnWarning)
    torch.set_num_threads(1)  # matrices this small are not worth a second thread
    train, test = load(name)
    flow = RelativeGradientFlow(random_state=0).fit(train)
    mixture, mixture_score = score_on_standardized(train, test, mixture_by_bic)
    kernel, kernel_score = score_on_standardized(train, test, kernel_density_by_search)
    return flow, {
        "flow": flow.score(test),
        "mixture": mixture_score,
        "kernel": kernel_score,
        "truth": PLANE[name].score(test) if name in PLANE else None,
        "components": mixture.n_components,
        "bandwidth": kernel.bandwidth,
    }


def compare():
    title("Held-out log-likelihood")
    say("Flow: RelativeGradientFlow with its defaults.")
    say(
        "Peers: GaussianMixture with components by BIC, KernelDensity with its bandwidth searched."
    )
    say("Pixels of digits are whole numbers: uniform noise in [0, 1) makes them continuous.")
    say("Of diabetes, the column of two values is left out: it has no density.\n")
    say(
        f"{'nats, best marked *':16} {'rows':>6} {'columns':>7} {'flow':>9}{'mixture':>16}", end=""
    )
    say(f"{'kernels':>18} {'truth':>9} {'fit':>7}")
    names = (*PLANE, *TABLES)
    fits = Parallel(n_jobs=-1, return_as="generator")(delayed(measure)(name) for name in names)
    flows, scores = {}, {}
    for name, (flow, score) in zip(names, fits, strict=True):
        flows[name], scores[name] = flow, score
        best = max(score[model] for model in ("flow", "mixture", "kernel"))
        cells = {
            model: f"{score[model]:.2f}{'*' if score[model] == best else ' '}"
            for model in ("flow", "mixture", "kernel")
        }
        truth = "" if score["truth"] is None else f"{score['truth']:.2f}"
        say(
            f"{name:19} {flow.n_samples_seen_:6,} {flow.n_features_in_:7} {cells['flow']:>10}"
            f"{cells['mixture']:>10}(k={score['components']:2})"
            f"{cells['kernel']:>10}(h={score['bandwidth']:.2f}) {truth:>7} {flow.fit_time_:5.1f} s"
        )
    return flows, scores


def search():
    title("A grid search over depth")
    say("breast cancer, 3-fold, GridSearchCV with nothing but the estimator ...\n")
    train, test = load("breast cancer")
    flow = RelativeGradientFlow(input_noise=0.1, random_state=0)
    found = GridSearchCV(flow, {"n_layers": [1, 3]}, cv=3, n_jobs=-1).fit(train)
    results = found.cv_results_
    say(f"{'layers':8}{'cross-validated nats':>24}")
    for rank in np.argsort(results["rank_test_score"]):
        say(
            f"{results['params'][rank]['n_layers']:<8}"
            f"{results['mean_test_score'][rank]:>15.2f} ± {results['std_test_score'][rank]:.2f}"
        )
    say(f"\nthe best, fitted to all training rows: {found.score(test):.2f} nats on held-out rows")


def classify(flow):
    title("Latents before a classifier")
    say("digits, logistic regression on standardised pixels or on the latents of the flow ...\n")
    train, test = load("digits")
    y_train, y_test = train_test_split(load_digits().target, test_size=0.2, random_state=0)
    say(f"{'features':12}{'held-out accuracy':>18}")
    for name, step in {"pixels": StandardScaler().fit(train), "latents": flow}.items():
        classifier = LogisticRegression(max_iter=1000).fit(step.transform(train), y_train)
        say(f"{name:12}{classifier.score(step.transform(test), y_test):>18.3f}")


def branching(n_rows, seed):
    """Return rows of a target whose noise changes along a feature, and which splits in two."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, n_rows)
    branch = np.where(rng.uniform(size=n_rows) < 0.6, 1, -1)
    noise = (0.1 + 0.2 * np.maximum(-x, 0)) * rng.normal(size=n_rows)
    return x[:, None], np.sin(2 * x) + branch * np.maximum(x, 0) + noise


def regress():
    title("A regression that returns a distribution")
    say("a target whose noise changes, and which splits in two, 5,000 rows ...\n")
    train, test = branching(5000, seed=0), branching(1000, seed=1)
    flow = ConditionalFlow(n_trees=0, random_state=0).fit(*train)
    mean, std = BayesianRidge().fit(*train).predict(test[0], return_std=True)
    say(f"{'density of the target':24}{'held-out nats':>14}")
    say(f"{'ConditionalFlow':24}{flow.score(*test):>14.2f}")
    say(f"{'linear, normal errors':24}{norm.logpdf(test[1], mean, std).mean():>14.2f}")
    return flow


def draw_strip(flow, path):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    X, y = branching(2000, seed=1)
    axes[0].scatter(X[:, 0], y, s=1.5, color=LIGHT, alpha=0.7, linewidths=0)
    ConditionalDensityDisplay.from_estimator(
        flow, X, y, ax=axes[1], n_points=0, cmap="magma", line_kw={"color": LIGHT, "linewidth": 1}
    )
    axes[1].get_legend().remove()
    for ax, heading in zip(axes, ("data", "density, quantiles 0.05, 0.5, 0.95"), strict=True):
        ax.set(xlim=axes[1].get_xlim(), ylabel=None, xticks=[], yticks=[], facecolor=DARK)
        ax.set_xlabel("feature", color=INK, fontsize=12)
        ax.set_title(heading, color=INK, fontsize=12)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("target", color=INK, fontsize=12)
    figure.savefig(path, dpi=110)


def draw_plane(flows, path):
    figure, axes = plt.subplots(3, len(PLANE), figsize=(12, 6.2), layout="constrained")
    for column, (name, density) in zip(axes.T, PLANE.items(), strict=True):
        data, _ = load(name)
        low, high = data.min(0) - 0.4, data.max(0) + 0.4
        sides = [np.linspace(*ends, 100) for ends in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)
        fitted = np.exp(flows[name].score_samples(points)).reshape(100, 100)
        peak = np.quantile(np.exp(density.score_samples(data)), 0.9)
        samples = flows[name].sample(len(data), random_state=0)
        for ax, drawn in zip(column, (data, samples), strict=False):
            ax.scatter(*drawn.T, s=1.5, color=LIGHT, alpha=0.7, linewidths=0)
        extent = [low[0], high[0], low[1], high[1]]
        column[2].imshow(fitted, origin="lower", extent=extent, cmap="magma", vmin=0, vmax=peak)
        for ax in column:
            ax.set(xlim=extent[:2], ylim=extent[2:], aspect="auto", xticks=[], yticks=[])
            ax.set_facecolor(DARK)
            ax.spines[:].set_visible(False)
        column[0].set_title(name, color=INK, fontsize=12)
    for ax, heading in zip(axes[:, 0], ("data", "samples", "density"), strict=True):
        ax.set_ylabel(heading, color=INK, fontsize=12)
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
    of_best = (
        candidate["validation_scores"]
        for candidate in flow.candidates_
        if candidate["best_validation_score"] == flow.best_validation_score_
    )
    return next(of_best, flow.validation_scores_)


def draw_training(flows, scores, path):
    figure, axes = plt.subplots(1, len(TABLES), figsize=(12, 3.2), layout="constrained")
    for ax, name in zip(axes, TABLES, strict=True):
        curve, score = np.array(validation_curve(flows[name])), scores[name]
        ax.plot(np.arange(1, len(curve) + 1), curve, color=FLOW, linewidth=1.6)
        ax.plot(len(curve), score["flow"], "o", color=FLOW, markersize=6, clip_on=False)
        ax.axhline(score["mixture"], color=PEER, linewidth=1.2)
        levels = [score["flow"], score["mixture"], curve.max(), np.quantile(curve, 0.1)]
        margin = 0.12 * (max(levels) - min(levels))
        ax.set_ylim(min(levels) - margin, max(levels) + margin)
        ax.set_xlim(0, len(curve))
        ax.set_title(name, loc="left", color=INK, fontsize=11)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(MUTED)
        ax.tick_params(colors=INK, labelsize=8, length=3, color=MUTED)
        ax.locator_params(nbins=5)
        ax.set_xlabel("epoch", color=INK, fontsize=9)
    axes[0].set_ylabel("log-likelihood, nats", color=INK, fontsize=9)
    handles = [
        plt.Line2D([], [], color=FLOW, label="flow, validation rows"),
        plt.Line2D([], [], color=FLOW, marker="o", linestyle="", label="flow, held-out rows"),
        plt.Line2D([], [], color=PEER, label="Gaussian mixture, held-out rows"),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK
    )
    figure.savefig(path, dpi=110)


def draw(flows, scores, regression, folder):
    title("Pictures")
    folder.mkdir(parents=True, exist_ok=True)
    draw_plane(flows, folder / "demo_plane.png")
    draw_digits(flows["digits"], folder / "digits.png")
    draw_training(flows, scores, folder / "training.png")
    draw_strip(regression, folder / "conditional.png")
    for name in ("demo_plane", "digits", "training", "conditional"):
        say(f"{(folder / name).resolve()}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--output", type=Path, default=Path("demo-pictures"), help="the folder for the pictures"
    )
    arguments = parser.parse_args()
    started = time.perf_counter()
    flows, scores = compare()
    search()
    classify(flows["digits"])
    regression = regress()
    draw(flows, scores, regression, arguments.output)
    say(f"\ndone in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
