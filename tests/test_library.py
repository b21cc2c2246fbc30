"""The compiled library keeps to the stable ABI, and gnnlib works as well without it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gnnlib  # first: it imports PyG without warnings

# isort: split
from gnnlib import _library, _sorting
from gnnlib.ops import (
    _additive_score,
    _edge_add,
    _edge_dot,
    _gate_rows,
    _gather_activate,
    _gather_attend,
    _gather_complex,
    _gather_edge_relu,
    _gather_reduce,
    _gather_softmax,
    _gather_statistics,
    _gru,
    _join_hops,
    _k_hop,
    _logmeanexp,
    _message_grad,
    _scatter_reduce,
    _segment_reduce,
    _segment_rnn,
    _softmax,
    _stack_hops,
    _tree,
    _tree_gru,
)
from gnnlib.rewiring import _fosr, _laser, _sdrf
from gnnlib.rewiring.curvature import _cycles, _ollivier_ricci, _transport, _triangles

BUILT = pytest.mark.skipif(not _library.AVAILABLE, reason="the extension is not built")
LIBRARY = Path(gnnlib.__file__).with_name("_C.abi3.so")
REFERENCES = {
    "is_sorted": _sorting._is_sorted_reference,
    "coo_to_csr": _sorting._coo_to_csr_reference,
    "group_index": _sorting._group_index_reference,
    "index_to_ptr": _sorting._index_to_ptr_reference,
    "fold_index": _sorting._fold_index_reference,
    "fold_ptr": _sorting._fold_ptr_reference,
    "csr_transpose": _sorting._csr_transpose_reference,
    "check_csr": _sorting._check_csr_reference,
    "gather_reduce": _gather_reduce._reference,
    "gather_complex": _gather_complex._reference,
    "gather_statistics": _gather_statistics._reference,
    "edge_add": _edge_add._reference,
    "edge_dot": _edge_dot._reference,
    "gather_attend": _gather_attend._reference,
    "segment_softmax": _softmax._softmax_reference,
    "segment_softmax_grad": _softmax._softmax_grad_reference,
    "segment_logsumexp": _softmax._logsumexp_reference,
    "segment_logsumexp_grad": _softmax._logsumexp_grad_reference,
    "segment_logmeanexp": _logmeanexp._reference,
    "segment_logmeanexp_grad": _logmeanexp._grad_reference,
    "gate_rows": _gate_rows._reference,
    "message_share": _message_grad._share_reference,
    "message_grad": _message_grad._grad_reference,
    "message_dot": _message_grad._dot_reference,
    "segment_grad": _message_grad._segment_reference,
    "segment_reduce": _segment_reduce._reduce_reference,
    "segment_arg": _segment_reduce._arg_reference,
    "segment_expand": _segment_reduce._expand_reference,
    "scatter_reduce": _scatter_reduce._reduce_reference,
    "scatter_arg": _scatter_reduce._arg_reference,
    "gather_edge_relu": _gather_edge_relu._reference,
    "edge_relu_grad": _gather_edge_relu._grad_reference,
    "tree_plan": _tree._reference,
    "k_hop": _k_hop._reference,
    "join_hops": _join_hops._reference,
    "stack_hops": _stack_hops._reference,
    "k_hop_count": _k_hop._count_reference,
    "cycle_counts": _cycles._reference,
    "triangle_counts": _triangles._reference,
    "fosr": _fosr._reference,
    "laser": _laser._reference,
    "sdrf": _sdrf._reference,
    "ollivier_ricci": _ollivier_ricci._reference,
    "transport_plans": _transport._reference,
    "gru_cell": _gru._cell_reference,
    "gru_cell_grad": _gru._cell_grad_reference,
    "gru_pair": _gru._pair_reference,
    "gru_pair_grad": _gru._pair_grad_reference,
    "tree_gru": _tree_gru._reference,
    "tree_gru_grad": _tree_gru._backward_reference,
    "segment_rnn": _segment_rnn._reference,
    "segment_rnn_grad": _segment_rnn._backward_reference,
    "additive_score": _additive_score._reference,
    "additive_grad": _additive_score._grad_reference,
    "gather_activate": _gather_activate._reference,
    "activate_grad": _gather_activate._grad_reference,
    "activate_dot": _gather_activate._dot_reference,
    "gather_softmax": _gather_softmax._reference,
    "softmax_grad": _gather_softmax._grad_reference,
    "softmax_dot": _gather_softmax._dot_reference,
}


AUDIT = "import sys; from torch_abi_audit.cli import main; sys.exit(main())"


@BUILT
def test_keeps_to_the_stable_abi() -> None:
    pytest.importorskip("torch_abi_audit")
    command = [sys.executable, "-c", AUDIT, "--json", str(LIBRARY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (extension,) = json.loads(done.stdout)["extensions"]
    assert extension["error"] is None
    assert extension["torch"]["stable"]
    assert extension["torch"]["unstable_symbols"] == []
    assert extension["torch"]["min_torch_version"] == "2.10.0"
    assert extension["cpython"] == {"intent": True, "compliant": True, "violations": []}


def test_every_operator_is_known_here() -> None:
    names = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if _ours(name)}
    assert {name.split(".")[0] for name in names} == set(REFERENCES)


def _ours(name: str) -> bool:
    return name.startswith("gnnlib::")


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_has_the_schema_of_its_kernel(name: str) -> None:
    # Without the extension its schema is inferred: both installs must have the same operators.
    inferred = torch.library.infer_schema(REFERENCES[name], mutates_args=())
    registered = str(getattr(torch.ops.gnnlib, name).default._schema)
    assert registered == f"gnnlib::{name}{inferred}"


@pytest.mark.parametrize("name", REFERENCES)
def test_every_operator_runs_everywhere(name: str) -> None:
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    assert has_kernel(f"gnnlib::{name}", "CompositeExplicitAutograd")  # where there are no kernels
    assert has_kernel(f"gnnlib::{name}", "Meta")


def results(dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Every operator on small graphs, forward and backward, and what it says of bad input."""
    draw = torch.Generator().manual_seed(0)
    found: dict[str, Any] = {}
    edges = torch.stack([torch.randint(n, (40,), generator=draw) for n in (7, 9)])
    ordered = edges[:, edges[1].argsort(stable=True)]
    for order, edge_index in (("any", edges), ("sorted", ordered)):
        adj = gnnlib.Adjacency.of(edge_index, (7, 9))
        found[f"{order} adj"] = [adj.rowptr, adj.col, adj.edge_index, adj.T.col, adj.T.edge_index]
        x = torch.randn(7, 3, generator=draw, dtype=dtype)
        x[1] = x[2]  # ties
        weight = torch.randn(40, generator=draw, dtype=dtype)
        gate = torch.tensor([0.5, 1.0, 1.0, 0.0, 0.3, 0.7, 0.0], dtype=dtype)
        for reduce in ("sum", "mean", "min", "max", "mul"):
            for mask in range(4):
                leaves = {"x": x, "weight": weight, "gate": gate}
                leaves = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
                if not mask & 1:
                    del leaves["weight"]
                if not mask & 2:
                    del leaves["gate"]
                out = gnnlib.ops.gather_reduce(adj=adj, reduce=reduce, **leaves)
                grad = torch.linspace(-1, 2, out.numel(), dtype=dtype).view_as(out)
                parts = torch.autograd.grad(out, tuple(leaves.values()), grad)
                found[f"{order} {reduce} {mask}"] = [out.detach(), *parts]
        y = torch.randn(9, 3, generator=draw, dtype=dtype).requires_grad_()
        x = x.requires_grad_()
        dot = gnnlib.ops.edge_dot(x, y, adj)
        found[f"{order} dot"] = [dot.detach(), *torch.autograd.grad(dot.square().sum(), (x, y))]
        found |= {f"{order} {name}": out for name, out in _attention(adj, draw, dtype, gate)}
    empty = gnnlib.Adjacency.of(torch.empty(2, 0, dtype=torch.long), (0, 3))
    nothing = torch.zeros(0, 2)
    for reduce in ("sum", "mean", "min", "max"):
        found[f"empty {reduce}"] = [gnnlib.ops.gather_reduce(nothing, empty, None, reduce)]
    src, index = torch.randn(40, 6, generator=draw, dtype=dtype), edges[1]
    for width, reduce in product((2, 6), ("sum", "mean", "min", "max", "mul")):
        out = gnnlib.ops.scatter(src[:, :width], index, 0, dim_size=10, reduce=reduce)
        found[f"scatter {reduce} {width}"] = [out]
    for width in (2, 6):
        args = (src[:, :width], index, 0)
        found[f"places {width}"] = [*gnnlib.ops.scatter_max(*args), gnnlib.ops.scatter_std(*args)]
        found[f"softmax {width}"] = [gnnlib.ops.scatter_softmax(*args)]
    found["batches"] = [gnnlib.ops.scatter(src.view(4, 10, 6), index.view(4, 10), 1)]
    whole = torch.arange(14, dtype=torch.int32).view(7, 2)
    for reduce in ("sum", "min", "max"):
        graph = gnnlib.Adjacency.of(edges, (7, 9))
        found[f"integer {reduce}"] = [gnnlib.ops.gather_reduce(whole, graph, None, reduce)]
    for name, call in {
        "too large": lambda: gnnlib.Adjacency.of(edges, (7, 8)),
        "negative": lambda: gnnlib.Adjacency.of(edges - 1, (7, 9)),
        "shape": lambda: gnnlib.Adjacency.of(edges.t()),
        "size": lambda: gnnlib.Adjacency.of(edges, -1),
        "mean": lambda: gnnlib.ops.gather_reduce(whole, graph, reduce="mean"),
        "second": _second_derivative,
    }.items():
        with pytest.raises(Exception) as caught:  # noqa: PT011  (its type is what is compared)
            call()
        found[name] = caught.typename
    return found


def _attention(
    adj: gnnlib.Adjacency, draw: torch.Generator, dtype: torch.dtype, gate: Tensor
) -> Iterator[tuple[str, list[Tensor]]]:
    shapes = ((7, 2, 3), (9, 2, 3), (40, 2))
    x, y, scores = (torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes)
    leaves = [leaf.requires_grad_() for leaf in (x, y, scores, gate.clone())]
    x, y, scores, gate = leaves
    ops = gnnlib.ops
    for name, out in {
        "heads": ops.gather_reduce(x, adj, scores, gate=gate),
        "dots of heads": ops.edge_dot(x, y, adj, 2),
        "sums": ops.edge_add(x, y, adj),
        "softmax": ops.segment_softmax(scores, adj),
        "logsumexp": ops.segment_logsumexp(scores, torch.tensor([2, 9, 30])),
        "attention": ops.gather_attend(x, scores, adj),
        "gated attention": ops.gather_attend(x, scores, adj, gate),
    }.items():
        grads = torch.autograd.grad(
            out.square().sum(), leaves, allow_unused=True, materialize_grads=True
        )
        yield name, [out.detach(), *grads]


def _second_derivative() -> Tensor:
    x = torch.ones(2, 1, requires_grad=True)
    out = gnnlib.ops.gather_reduce(x, torch.tensor([[0], [1]]), reduce="max")
    (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    return torch.autograd.grad(grad.sum(), x)[0]


SCRIPT = """
import sys, warnings
sys.modules["gnnlib._C"] = None  # importlib takes it for a module that does not exist
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import gnnlib
ours = [str(w.message) for w in caught if "gnnlib" in str(w.message)]
assert len(ours) == 1 and "without its compiled kernels" in ours[0], ours
assert not gnnlib._library.AVAILABLE
import torch
from tests.test_library import results
torch.save(results(), sys.argv[1])
"""


@BUILT
def test_works_without_the_extension(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "found")],
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    without, expected = torch.load(tmp_path / "found"), results()
    assert without.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, str):
            assert without[name] == value, name
            continue
        for a, b in zip(without[name], value, strict=True):
            torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")


@BUILT
def test_every_operator_has_a_compiled_kernel() -> None:
    names = torch._C._dispatch_get_registrations_for_dispatch_key("CPU")
    compiled = {name.split("::")[1] for name in names if _ours(name)}
    # These are made of torch's own and of other operators.
    composed = {"gate_rows", "tree_gru", "tree_gru_grad", "segment_rnn", "segment_rnn_grad"}
    composed |= {"segment_logmeanexp", "segment_logmeanexp_grad"}
    assert compiled == REFERENCES.keys() - composed
