"""What is written into the graph of a compiled step computes the same, and is chosen by the processor and the data."""

import copy
import shutil
from dataclasses import replace

import pytest
import torch
from test_training import PLAN, make, stripes

from condkl.objectives import names, objective
from condkl_studies import products
from condkl_studies.batches import places
from condkl_studies.evaluation import iwae_log_likelihood
from condkl_studies.products import Calls, as_floats
from condkl_studies.state import State
from condkl_studies.training import windows

mm, addmm, tanh = (getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "tanh"))
bag, one_dnn = torch.ops.aten._embedding_bag_forward_only.default, torch.ops.condkl.onednn_product.default


def step(bits, *inputs):
    """Values and gradients of a net on bits, some of them added to another product, with what the places say of x."""
    *places, w, b, m, out = inputs
    x = as_floats(bits, *places) if places else bits.to(w.dtype)
    hidden = torch.addmm(b, x, w)
    value = (torch.addmm(hidden.tanh() @ m, hidden, m).tanh() @ out + x @ w[:, :1]).sum()
    return [value, x * x, *torch.autograd.grad(value, [w, b, m, out])]


def given(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    bits = (torch.rand(7, 12, generator=generator) < 0.2).to(torch.uint8)
    shapes = [(12, 5), (5,), (5, 5), (5, 3)]
    weights = [torch.randn(*s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]
    return bits, *next(places(bits[None])), *weights


@pytest.fixture(autouse=True)
def _no_product_is_too_small(monkeypatch):
    monkeypatch.setattr("condkl_studies.graphs._LARGE", 0)


def rewritten(inputs, onednn):
    from torch.fx.experimental.proxy_tensor import make_fx  # the compiler takes seconds to import, in every process

    from condkl_studies.graphs import FasterCalls

    turned = {torch.ops.aten.t.default: lambda x: torch.ops.aten.permute.default(x, [1, 0])}  # as compilers spell it
    graph = make_fx(step, turned, "fake")(*inputs)
    FasterCalls(onednn)(graph.graph)
    graph.graph.lint()
    graph.recompile()
    return graph


def targets(graph):
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("onednn", [False, True])
def test_a_rewritten_graph_gives_the_same_values_and_gradients(onednn):
    inputs = given()
    graph = rewritten(inputs, onednn)
    with torch.no_grad():
        values = graph(*inputs)
    for found, want in zip(values, step(inputs[0], *inputs[5:]), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("onednn", [False, True])
def test_products_with_bits_become_sums_of_rows_and_the_others_calls_of_one_dnn(onednn):
    found = targets(rewritten(given(), onednn))
    assert found.count(bag) == 4  # two products with x, and the gradients of their two matrices
    assert tanh not in found
    assert torch.ops.condkl.as_floats.default not in found
    dense = found.count(mm) + found.count(addmm)
    assert (dense == 0, found.count(one_dnn) > 0) == (onednn, onednn)


def test_small_products_stay_torchs(monkeypatch):
    monkeypatch.setattr("condkl_studies.graphs._LARGE", 7 * 5 * 4)  # of 7 rows, 5 by 5 and 5 by 3
    found = targets(rewritten(given(), onednn=True))
    assert found.count(one_dnn) > 0
    assert found.count(mm) > 0


def test_what_is_not_float32_is_left_alone():
    bits, *_, w, b, m, out = given(torch.float64)
    found = targets(rewritten((bits, w, b, m, out), onednn=True))
    assert tanh in found
    assert one_dnn not in found


@pytest.mark.parametrize(
    ("processor", "vectors", "faster"),
    [
        ("AMD EPYC, family 26", "AVX512", True),
        ("AMD EPYC, family 23", "AVX2", False),
        ("Intel(R) Xeon(R)", "AVX512", False),
        ("unknown", "DEFAULT", False),
    ],
)
def test_the_processor_decides_whose_products_are_called(processor, vectors, faster, monkeypatch):
    monkeypatch.setattr(products, "processor", lambda: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    dark = torch.full((3, 4), 30, dtype=torch.uint8)
    assert products.calls(dark, torch.float32) == Calls(rows=True, onednn=faster)
    for where, dtype in ((dark, torch.float64), (dark.to("meta"), torch.float32)):
        assert products.calls(where, dtype) == Calls(rows=False, onednn=False)


@pytest.mark.parametrize(("grey", "rows"), [(0, False), (20, True), (60, True), (70, False), (255, False)])
def test_rows_are_summed_where_less_than_a_quarter_of_the_bits_are_ones(grey, rows):
    assert products.calls(torch.full((3, 4), grey, dtype=torch.uint8), torch.float32).rows == rows


def test_the_record_says_in_words_how_a_step_multiplied():
    assert str(Calls(rows=True, onednn=False)) == "sums of rows with x, torch"
    assert str(Calls(rows=False, onednn=True)) == "dense products with x, oneDNN"


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
VARIANTS = [Calls(rows, onednn) for rows in (False, True) for onednn in (False, True)]


def compiled_rows(calls, name="full"):
    state = State.start(make())
    list(
        windows(state, objective(name), stripes() // 4, replace(PLAN, gradient_batches=0), 3, calls is not None, calls)
    )
    return state


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("calls", VARIANTS)
def test_each_variant_trains_the_same_model_and_repeats_to_the_bit(calls):
    eager, one, two = (compiled_rows(how) for how in (None, calls, calls))
    for plain, first, again in zip(*(s.model.parameters() for s in (eager, one, two)), strict=True):
        torch.testing.assert_close(first, plain, rtol=0, atol=2e-5)
        assert torch.equal(first, again)
    assert one.rows == two.rows
    assert [row["elbo"] for row in one.rows] == pytest.approx([row["elbo"] for row in eager.rows], rel=1e-5)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", names())
def test_every_objective_can_be_trained_with_sums_of_rows(name):
    eager, one = compiled_rows(None, name), compiled_rows(Calls(rows=True, onednn=True), name)
    assert [row["elbo"] for row in one.rows] == pytest.approx([row["elbo"] for row in eager.rows], rel=1e-5)


@needs_compiler
def test_a_compiled_step_and_a_compiled_likelihood_are_the_eager_ones_but_for_rounding():
    eager, one = compiled_rows(None), compiled_rows(Calls(rows=True, onednn=True))
    assert [row["elbo"] for row in one.rows] == pytest.approx([row["elbo"] for row in eager.rows], rel=1e-5)
    x = (stripes(3) > 127).float()
    model = copy.deepcopy(one.model)
    found, want = (
        iwae_log_likelihood(model, x, 40, torch.Generator().manual_seed(1), chunk=20, compiled=how)
        for how in (True, False)
    )
    torch.testing.assert_close(found, want, rtol=0, atol=1e-4)
