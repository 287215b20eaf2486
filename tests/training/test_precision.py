import pytest
import torch

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


def test_highest_touches_nothing():
    before = settings()
    with matmul_precision("highest"):
        assert settings() == before
