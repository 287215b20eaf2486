import pytest
import torch

from skflow.flow import Flow, LinearStack, Normal, SmoothLeakyReLU, SplineCoupling
from skflow.flow.products import add_product_, addmm, affine, mm, product, takes_onednn
from skflow.training.optimizers import NormalizedRelativeSGD
from skflow.training.precision import matmul_precision

onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN"
)


@pytest.fixture
def wide_registers(monkeypatch):
    """Stand for a processor where oneDNN takes products that are large enough."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.fixture
def narrow_registers(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


@pytest.fixture
def calls(monkeypatch):
    """What is given to oneDNN."""
    taken, original = [], torch.ops.mkldnn._linear_pointwise

    def counting(x, weight, *args):
        taken.append((x.shape, weight.shape))
        return original(x, weight, *args)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", counting)
    return taken


def matrices(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def close(actual, expected):
    """Compare with what was computed in float64, to the rounding of sums in float32."""
    torch.testing.assert_close(actual, expected.float(), rtol=1e-5, atol=1e-4)
    return True


@onednn
@pytest.mark.usefixtures("wide_registers")
@pytest.mark.parametrize("a_is_transposed", [False, True])
@pytest.mark.parametrize("b_is_transposed", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "m"), [(1, 1300, 1200), (3, 5000, 110), (5000, 5, 70), (130, 70, 260)]
)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_products_are_those_in_double_precision(
    calls, a_is_transposed, b_is_transposed, n, k, m, batch
):
    a, b = matrices((*batch, n, k), (*batch, k, m))
    if a_is_transposed:
        a = a.mT.contiguous().mT
    if b_is_transposed:
        b = b.mT.contiguous().mT
    result = product(a, b)
    assert close(result, a.double() @ b.double())
    assert result.is_contiguous()
    assert len(calls) == (3 if batch else 1)


@onednn
@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("b_is_transposed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (90, 30), (3, 200)])
def test_products_in_given_room_are_those_in_double_precision(b_is_transposed, by_columns, shape):
    a, b, bias = matrices(shape, (shape[1],) * 2, (shape[1],))
    if b_is_transposed:
        b = b.T
    if by_columns:
        a = a.T.contiguous().T
    out = torch.empty_like(a)
    assert close(mm(a, b, out=out), a.double() @ b.double())
    expected = bias.double() + 0.5 * a.double() @ b.double()
    assert close(addmm(bias, a, b, alpha=0.5, out=out), expected)
    assert out.stride() == a.stride()


@onednn
@pytest.mark.usefixtures("wide_registers")
@pytest.mark.parametrize("has_bias", [False, True])
def test_affine_maps_are_those_in_double_precision(calls, has_bias):
    x, weight, bias = matrices((400, 160), (50, 130), (50,))
    columns = x[:, 10:140]  # whose rows are not contiguous
    expected = columns.double() @ weight.double().T + (bias.double() if has_bias else 0)
    assert close(affine(columns, weight, bias if has_bias else None), expected)
    assert len(calls) == 1


@onednn
@pytest.mark.usefixtures("wide_registers")
@pytest.mark.parametrize(
    ("n", "entries", "rows"), [(130, 2**19, 128), (300, 1000, 1), (301, 64, 50)]
)
def test_products_are_added_in_parts(calls, n, entries, rows):
    m, k = 200, 70
    target, a, b = matrices((2, n, m), (2, k, n), (2, k, m))
    expected = target.double() - 0.5 * a.mT.double() @ b.double()
    version = target._version
    add_product_(target, a.mT, b, alpha=-0.5, block_entries=entries, block_rows=rows)
    assert close(target, expected)
    assert target._version > version  # or a layer would not know that it has changed
    assert max(x[0] * w[0] for x, w in calls) <= max(m * 2 * rows, 2 * entries)


@pytest.mark.usefixtures("wide_registers")
def test_only_large_float32_products_on_a_cpu_are_for_onednn(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", object(), raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", True)
    large = torch.empty(1000, 1000)
    assert takes_onednn(100, large)
    assert not takes_onednn(1, large)
    assert not takes_onednn(100, large[:10, :10])
    assert not takes_onednn(100, large.double())
    assert not takes_onednn(100, large.to("meta"))
    with matmul_precision("medium"):
        assert not takes_onednn(100, large)


@pytest.mark.usefixtures("wide_registers")
@pytest.mark.parametrize("lacking", ["wide registers", "the operation", "permission"])
def test_without_onednn_products_are_left_to_pytorch(monkeypatch, lacking):
    if lacking == "wide registers":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    elif lacking == "the operation":
        monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None, raising=False)
    else:
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    a, b, bias = matrices((400, 130), (130, 50), (50,))
    assert torch.equal(product(a, b), a @ b)
    assert torch.equal(affine(a, b.T, bias), torch.addmm(bias, a, b))
    target = torch.zeros(1, 400, 50)
    add_product_(target, a.unsqueeze(0), b.unsqueeze(0), alpha=1.0)
    assert close(target[0], a.double() @ b.double())


@onednn
@pytest.mark.usefixtures("wide_registers")
@pytest.mark.parametrize("function", [product, affine])
def test_gradients_flow_through_products(function):
    a, b = (t.requires_grad_() for t in matrices((120, 120), (120, 120)))
    function(a, b).square().mean().backward()
    assert a.grad is not None
    assert b.grad is not None
    plain = (a @ b if function is product else a @ b.T).square().mean()
    for gradient, expected in zip(
        (a.grad, b.grad), torch.autograd.grad(plain, (a, b)), strict=True
    ):
        assert close(gradient, expected.double())


def trained(n_rows, bias):
    """Return the first gradients, and what some steps make, of a flow of all that multiplies.

    Adam's first steps go as far where a gradient is rounding as where it is none: they are short.
    """
    generator = torch.Generator().manual_seed(0)
    flow = Flow(
        [
            LinearStack(2, 150, activation=SmoothLeakyReLU(), bias=bias),
            SplineCoupling(150, n_hidden=20),
            LinearStack(1, 150),
        ],
        Normal(),
        n_features=150,
    )
    x = torch.randn(n_rows, 150, generator=generator)
    flow.initialize(x, generator)
    optimizer = NormalizedRelativeSGD(flow)
    gradients = []
    for k in range(5):
        flow.relative_gradient(x)
        if k == 0:
            gradients = [p.grad.clone() for p in flow.parameters() if p.grad is not None]
        assert optimizer.step(0.05, 1e-5)
    assert gradients
    with torch.no_grad():
        latent = [flow.log_prob(x), flow.inverse(x), flow.log_abs_det()]
        return [*gradients, *flow.parameters(), *latent]


@onednn
@pytest.mark.parametrize("n_rows", [80, 300])  # fewer than columns, and more
@pytest.mark.parametrize("bias", [True, False])
def test_both_libraries_train_alike(request, calls, n_rows, bias):
    request.getfixturevalue("narrow_registers")
    expected = trained(n_rows, bias)
    assert not calls
    request.getfixturevalue("wide_registers")
    actual = trained(n_rows, bias)
    assert calls
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available()
    or torch.backends.cpu.get_cpu_capability() != "AVX512",
    reason="this processor has no registers of 512 bits",
)
def test_this_version_of_pytorch_has_the_operation(calls):
    a, b = matrices((200, 300), (300, 400))
    assert close(product(a, b), a.double() @ b.double())
    assert len(calls) == 1
