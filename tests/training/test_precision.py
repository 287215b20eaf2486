import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from skflow import RelativeGradientFlow
from skflow.training.precision import matmul_precision


def settings():
    return (
        torch.backends.mkldnn.matmul.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
    )


@pytest.mark.parametrize(
    ("precision", "expected"), [("high", ("tf32", "tf32")), ("medium", ("bf16", "tf32"))]
)
def test_setting_holds_inside_and_is_put_back(precision, expected):
    def fail():
        with matmul_precision(precision):
            assert settings() == expected
            raise KeyError

    before = settings()
    with pytest.raises(KeyError):
        fail()
    assert settings() == before


def test_highest_does_not_round_whatever_the_setting_was():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        rounding = settings()
        with matmul_precision("highest"):
            assert settings() == ("ieee", "ieee")
        assert settings() == rounding == ("bf16", "tf32")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_of_several_threads_the_highest_holds_and_the_last_puts_it_back():
    before = settings()
    entered, seen = [threading.Barrier(2) for _ in range(4)], []

    def coarse():
        with matmul_precision("medium"):
            seen.append(settings())
            entered[0].wait()  # the other one begins
            entered[1].wait()
            seen.append(settings())
        entered[2].wait()  # and ends last
        entered[3].wait()

    def fine():
        entered[0].wait()
        with matmul_precision("highest"):
            entered[1].wait()
            entered[2].wait()
            seen.append(settings())
        entered[3].wait()

    threads = [threading.Thread(target=target) for target in (coarse, fine)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [("bf16", "tf32"), ("ieee", "ieee"), ("ieee", "ieee")]
    assert settings() == before


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("precisions", [["medium"] * 2, ["medium", "high", "highest"]])
def test_fits_in_threads_leave_the_setting_as_it_was(precisions, rng):
    before = settings()
    X = rng.normal(size=(60, 2))

    def fit(precision):
        flow = RelativeGradientFlow(1, matmul_precision=precision, max_iter=3, random_state=0)
        return flow.fit(X).score(X)

    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(fit, 4 * precisions))
    assert np.isfinite(scores).all()
    assert settings() == before
