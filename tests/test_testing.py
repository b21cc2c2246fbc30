"""The law checkers pass well-behaved code, and name the very law that a planted fault breaks."""

# ruff: noqa: ARG002, ARG005  (to ignore an argument is one of the faults planted here)

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.testing import Sample, assert_layer, assert_op  # first: it imports PyG without warnings

# isort: split
from torch_geometric import EdgeIndex
from torch_geometric.nn import GATConv, GCNConv, GINConv, GINEConv, GraphConv, Linear, SAGEConv

SLOW = dict.fromkeys(
    ("torch_compile", "torch_export", "torch_export_dynamic"), "slow, and checked once elsewhere"
)
NO_WEIGHT = {"edge_weight": "PyG gives this layer no `edge_weight`"}


def broken_laws(check: Callable[[], None]) -> set[str]:
    """The names of the laws in the error that a check raises."""
    with pytest.raises(AssertionError) as caught:
        check()
    return set(re.findall(r"^- (\w+)", str(caught.value), re.MULTILINE))


# Layers ---------------------------------------------------------------------------------------


def gin(in_channels: int, out_channels: int) -> GINConv:
    return GINConv(Linear(in_channels, out_channels), train_eps=True)


def gine(in_channels: int, out_channels: int) -> GINEConv:
    return GINEConv(Linear(in_channels, out_channels), edge_dim=3)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (GCNConv, {"skip": {"sparse_adjacency": "gcn_norm knows no CSC"}}),
        (SAGEConv, {"skip": NO_WEIGHT}),
        (gin, {"skip": NO_WEIGHT}),
        (
            gine,
            {
                "edge_dim": 3,
                "skip": NO_WEIGHT | {"lazy_channels": "edge_dim needs to know the width"},
            },
        ),
        # In float64 its EdgeIndex path fails inside PyG, which fills in float32 weights.
        (GraphConv, {"dtype": torch.float32}),
    ],
)
def test_assert_layer_passes_pyg(make: Any, options: dict[str, Any]) -> None:
    state = torch.get_rng_state()
    num_threads = torch.get_num_threads()
    assert_layer(make, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == num_threads


def test_assert_layer_finds_faults_of_pyg() -> None:
    assert broken_laws(lambda: assert_layer(GraphConv, skip=SLOW)) == {"edge_index_class"}
    # GATConv drops the edge features without a word unless it was given edge_dim.
    assert broken_laws(lambda: assert_layer(GATConv, skip=SLOW | NO_WEIGHT)) == {"edge_attr"}


def pairs(layer: Any, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    """The source and target of every edge, whatever the form of the input."""
    if edge_index.layout != torch.strided:
        target, source = edge_index.to_sparse_coo().coalesce().indices()
        return source, target
    edge_index = torch.stack(
        list(edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index)
    )
    source, target = edge_index.flip(0) if layer.flow == "target_to_source" else edge_index
    return source, target


class Planted(GCNConv):
    """A GCNConv that obeys every law, with room for one fault around it."""

    def forward(self, x: Any, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        if isinstance(x, tuple):
            raise ValueError("the planted layers know one kind of node")
        if edge_index.layout == torch.sparse_csc:
            edge_index = edge_index.to_sparse_csr()
        return self.after(super().forward(x, edge_index, edge_weight), x, edge_index)

    def after(self, out: Tensor, x: Tensor, edge_index: Tensor) -> Tensor:
        return out


class LooksAtNames(Planted):
    def after(self, out, x, edge_index):
        source, target = pairs(self, edge_index)
        return out.index_add(0, target, (source < target).to(out)[:, None].expand(-1, out.size(1)))


class LooksAtOrder(Planted):
    def after(self, out, x, edge_index):
        source, target = pairs(self, edge_index)
        order = target.argsort(stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = target[order][1:] != target[order][:-1]
        first = order[first]
        return out.index_add(0, target[first], x[source[first], :6])


class LooksAtBatch(Planted):
    def after(self, out, x, edge_index):
        return out * out.mean(0).tanh()


class NeedsEdges(Planted):
    def after(self, out, x, edge_index):
        no_edges = pairs(self, edge_index)[0].numel() == 0
        return out / 0 if no_edges and x.size(0) > 1 else out


class CountsNodesByEdges(Planted):
    def after(self, out, x, edge_index):
        nodes = torch.cat(pairs(self, edge_index))
        return out[: int(nodes.max()) + 1] if nodes.numel() else out


class NeedsOthers(Planted):
    def after(self, out, x, edge_index):
        source, target = pairs(self, edge_index)
        return out / 0 if source.numel() > 1 and (source == target).all() else out


class NeedsSimple(Planted):
    def after(self, out, x, edge_index):
        edges = torch.stack(pairs(self, edge_index))
        return out / 0 if 2 * edges.unique(dim=1).size(1) <= edges.size(1) > 1 else out


class Squeezes(Planted):
    def after(self, out, x, edge_index):
        return out.squeeze(0)


class Reshapes(Planted):
    def after(self, out, x, edge_index):
        return out.reshape(x.size(0), -1)


class IgnoresFlow(Planted):
    def __init__(self, in_channels, out_channels, flow="source_to_target"):
        super().__init__(in_channels, out_channels)


class ReadsSources(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        return super().forward(x[0] if isinstance(x, tuple) else x, edge_index, edge_weight)


class RefusesInSilence(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        if isinstance(x, tuple):
            raise ValueError
        return super().forward(x, edge_index, edge_weight)


class RefusesByAccident(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        _, _ = x.shape if isinstance(x, Tensor) else (*x, None)
        return super().forward(x, edge_index, edge_weight)


class NeedsChannels(Planted):
    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__(in_channels, out_channels, **kwargs)
        torch.empty(in_channels)


class KnowsPlainTensors(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        if isinstance(edge_index, EdgeIndex):
            raise TypeError("not a tensor")
        return super().forward(x, edge_index, edge_weight)


class Transposes(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        adjacency = edge_index.layout != torch.strided
        return super().forward(x, edge_index.t() if adjacency else edge_index, edge_weight)


class IgnoresWeight(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        return super().forward(x, edge_index)


class HasNoWeight(Planted):
    def forward(self, x, edge_index):
        return super().forward(x, edge_index)


class MixesWeights(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        if edge_weight is not None:
            edge_index = edge_index[:, edge_index[0].argsort()]
        return super().forward(x, edge_index, edge_weight)


class IgnoresAttr(Planted):
    def forward(self, x, edge_index, edge_weight=None, edge_attr=None):
        return super().forward(x, edge_index, edge_weight)


class HasDeadParameter(Planted):
    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__(in_channels, out_channels, **kwargs)
        self.dead = torch.nn.Parameter(torch.ones(()))

    def reset_parameters(self):
        super().reset_parameters()
        if hasattr(self, "dead"):
            torch.nn.init.ones_(self.dead)


class HasZeroGradient(HasDeadParameter):
    def after(self, out, x, edge_index):
        return out + 0 * self.dead


class WritesInput(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        if isinstance(x, Tensor):
            x.detach().mul_(1)
        return super().forward(x, edge_index, edge_weight)


class CountsCalls(Planted):
    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__(in_channels, out_channels, **kwargs)
        self.register_buffer("calls", torch.tensor(0))

    def after(self, out, x, edge_index):
        self.calls += 1
        return out


class ReplacesParameter(Planted):
    def forward(self, x, edge_index, edge_weight=None):
        self.bias = torch.nn.Parameter(self.bias.clamp(-9, 9))
        return super().forward(x, edge_index, edge_weight)


class KeepsGraph(Planted):
    seen = None

    def forward(self, x, edge_index, edge_weight=None):
        if self.seen is None or self.seen[0] is not edge_index:
            self.seen = (edge_index, edge_index.clone())
        return super().forward(x, self.seen[1], edge_weight)


class HidesState(Planted):
    def __init__(self, in_channels, out_channels, **kwargs):
        hidden = float(torch.rand(()))
        super().__init__(in_channels, out_channels, **kwargs)
        self.hidden = hidden

    def after(self, out, x, edge_index):
        return out + self.hidden


class CopiesShallowly(Planted):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class ResetsOnce(Planted):
    ready = False

    def reset_parameters(self):
        if not self.ready:
            super().reset_parameters()
        self.ready = True


class PrintsAddress(Planted):
    __repr__ = object.__repr__


class PrintsNoSize(Planted):
    def __repr__(self):
        return "PrintsNoSize()"


class DiffersCompiled(Planted):
    def after(self, out, x, edge_index):
        return 2 * out if torch.compiler.is_dynamo_compiling() else out


class BreaksCompiledGraph(Planted):
    def after(self, out, x, edge_index):
        torch._dynamo.graph_break()
        return out


class DiffersExported(Planted):
    def after(self, out, x, edge_index):
        return 2 * out if torch.compiler.is_exporting() else out


class FixesSize(Planted):
    def after(self, out, x, edge_index):
        return out + 0 * sum(1 for _ in range(x.size(0)))


class DrawsInEval(Planted):
    def after(self, out, x, edge_index):
        return out if self.training else out + 1e-12 * torch.rand_like(out)


class DrawsGlobally(Planted):
    def after(self, out, x, edge_index):
        return torch.dropout(out, 0.1, self.training)


class Draws(Planted):
    """A stochastic layer as it should be."""

    def forward(self, x, edge_index, edge_weight=None, generator=None):
        out = super().forward(x, edge_index, edge_weight)
        if not self.training:
            return out
        return out + torch.rand(out.shape, generator=generator, dtype=out.dtype)


class DrawsUnasked(Draws):
    def forward(self, x, edge_index, edge_weight=None, generator=None):
        own = torch.Generator()
        own.seed()
        return super().forward(x, edge_index, edge_weight, own)


@pytest.mark.parametrize(
    ("make", "laws"),
    [
        (LooksAtNames, "node_permutation"),
        (LooksAtOrder, "edge_order"),
        (LooksAtBatch, "batch_independence"),
        (NeedsEdges, "zero_edges"),
        (CountsNodesByEdges, "isolated_nodes"),
        (NeedsOthers, "self_loops"),
        (NeedsSimple, "multi_edges"),
        (Squeezes, "one_node"),
        (Reshapes, "zero_nodes"),
        (IgnoresFlow, "flow"),
        (ReadsSources, "bipartite"),
        (RefusesInSilence, "bipartite"),
        (RefusesByAccident, "bipartite"),
        (NeedsChannels, "lazy_channels"),
        (KnowsPlainTensors, "edge_index_class"),
        (Transposes, "sparse_adjacency"),
        (IgnoresWeight, "edge_weight"),
        (HasNoWeight, "edge_weight"),
        (MixesWeights, "edge_weight"),
        (IgnoresAttr, "edge_attr"),
        (HasDeadParameter, "parameter_gradients"),
        (HasZeroGradient, "parameter_gradients"),
        (WritesInput, "pure_forward"),
        (CountsCalls, "pure_forward"),
        # The optimiser holds the old parameter, which never gets a gradient.
        (ReplacesParameter, "pure_forward parameter_gradients"),
        (KeepsGraph, "no_cache"),
        (HidesState, "state_dict"),
        (CopiesShallowly, "deepcopy"),
        (ResetsOnce, "reset_parameters"),
        (PrintsAddress, "representation"),
        (PrintsNoSize, "representation"),
        (DrawsInEval, "eval_deterministic"),
        (DrawsGlobally, "generator"),
        (DrawsUnasked, "generator"),
    ],
)
def test_assert_layer_names_the_broken_law(make: Any, laws: str) -> None:
    assert broken_laws(lambda: assert_layer(make, skip=SLOW)) == set(laws.split())


@pytest.mark.parametrize(
    ("make", "laws"),
    [
        (DiffersCompiled, "torch_compile"),
        (BreaksCompiledGraph, "torch_compile"),
        (DiffersExported, "torch_export torch_export_dynamic"),
        (FixesSize, "torch_export_dynamic"),
    ],
)
def test_assert_layer_names_the_broken_compiler_law(make: Any, laws: str) -> None:
    assert broken_laws(lambda: assert_layer(make)) == set(laws.split())


def test_assert_layer_passes_declared_exceptions() -> None:
    assert_layer(Draws, skip=SLOW)
    assert_layer(HasZeroGradient, zero_gradient=["dead"], skip=SLOW)
    check = lambda: assert_layer(Planted, zero_gradient=["nothing"], skip=SLOW)  # noqa: E731
    assert broken_laws(check) == {"parameter_gradients"}


def test_assert_layer_rejects_a_stale_or_silent_skip() -> None:
    with pytest.raises(ValueError, match=r"must name laws, got \['node_permutations'\]"):
        assert_layer(GCNConv, skip={"node_permutations": "a typing error"})
    with pytest.raises(ValueError, match="no reason for"):
        assert_layer(GCNConv, skip={"flow": " "})


# Ops ------------------------------------------------------------------------------------------


@torch.library.custom_op("gnnlib_test::square", mutates_args=())
def square(x: Tensor, scale: float = 1.0) -> Tensor:
    return scale * x * x


square.register_fake(lambda x, scale=1.0: torch.empty_like(x))
square.register_autograd(
    lambda ctx, grad: (2 * ctx.scale * ctx.saved_tensors[0] * grad, None),
    setup_context=lambda ctx, inputs, output: (
        ctx.save_for_backward(inputs[0]),
        setattr(ctx, "scale", inputs[1]),
    ),
)


@torch.library.custom_op("gnnlib_test::misfaked", mutates_args=())
def misfaked(x: Tensor) -> Tensor:
    return x * x


misfaked.register_fake(lambda x: x.new_empty(x.size(0) + 1))


def reference(x: Tensor, scale: float = 1.0) -> Tensor:
    return scale * x**2


X = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
ODD = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0])


def test_assert_op_passes_a_good_op() -> None:
    samples = [
        (X,),
        Sample((X.double(),), {"scale": 3.0}),
        (X.half(), 2.0),
        (X.bfloat16(),),
        (X[:0],),
        (X.t(),),
        (torch.tensor(3.0),),
        Sample((ODD,), smooth=False),
    ]
    state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    assert_op(
        square, reference, samples, differentiable=["x"], double_backward=True, opcheck=[square]
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == num_threads


def test_assert_op_takes_pytrees_integers_and_ties() -> None:
    def total(parts: list[Tensor], weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        stack = torch.stack(parts)
        return stack.amax(0), stack.sum(0) if weight is None else (stack * weight).sum(0)

    samples = [
        ([X, X + 1],),
        ([X.long(), X.long()],),
        Sample(([X, X], torch.rand(())), smooth=False),
        Sample(([X, X + 1],), {"weight": torch.rand(2, 3)}),
    ]
    assert_op(total, total, samples, differentiable=[0, "weight"], compile=False)


def test_assert_op_takes_complex_numbers() -> None:
    samples = [(torch.complex(X, X + 1),), (torch.complex(X, X + 1).to(torch.complex128),)]
    assert_op(torch.abs, lambda x: x.abs(), samples, differentiable=[0], compile=False)
    assert_op(torch.conj_physical, lambda x: x.conj(), samples, differentiable=[0], compile=False)


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class OnceOnly(WrongGradient):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


class DenseGradient(WrongGradient):
    @staticmethod
    def backward(ctx, grad):
        return 2 * as_if_contiguous(grad) * ctx.saved_tensors[0]


def as_if_contiguous(x: Tensor) -> Tensor:
    return x.as_strided(x.shape, x.new_empty(x.shape).stride())


def writes(x: Tensor) -> Tensor:
    x.detach().mul_(1)
    return x * x


def breaks_graph(x: Tensor) -> Tensor:
    torch._dynamo.graph_break()
    return x * x


def drops_nan(x: Tensor) -> Tensor:
    return (x * x).nan_to_num(0.0, float("inf"))


@pytest.mark.parametrize(
    ("op", "laws"),
    [
        (lambda x: x * x + (x == 3), "forward"),
        (lambda x: (x * x)[:1], "forward"),
        (lambda x: (x * x).float(), "forward"),
        (lambda x: (x * x, x), "forward"),
        (drops_nan, "forward"),
        (lambda x: x * x * (1 + 1e-12 * torch.rand(x.shape, dtype=x.dtype)), "determinism"),
        (DenseGradient.apply, "strides"),
        (WrongGradient.apply, "gradient gradcheck"),
        (OnceOnly.apply, "gradgradcheck"),
    ],
)
def test_assert_op_names_the_broken_law(op: Any, laws: str) -> None:
    samples = [Sample((ODD.double(),), smooth=False), (X.double(),)]
    check = lambda: assert_op(  # noqa: E731
        op,
        lambda x: x**2,
        samples,
        differentiable=[0],
        double_backward=True,
        compile=False,
    )
    assert broken_laws(check) == set(laws.split())


@pytest.mark.parametrize(
    ("op", "law"), [(writes, "inputs"), (lambda x: as_if_contiguous(x) * x, "strides")]
)
def test_assert_op_names_the_broken_law_without_gradients(op: Any, law: str) -> None:
    assert broken_laws(lambda: assert_op(op, torch.square, [(X,)], compile=False)) == {law}


def test_assert_op_names_the_broken_registration() -> None:
    check = lambda ops: assert_op(misfaked, torch.square, [(X[0],)], opcheck=ops, compile=False)  # noqa: E731
    assert broken_laws(lambda: check([misfaked])) == {"opcheck"}
    assert broken_laws(lambda: check([torch.ops.gnnlib_test.misfaked.default])) == {"opcheck"}
    with pytest.raises(AssertionError, match="no sample reaches"):
        check([torch.ops.gnnlib_test.square])
    check([])


def test_assert_op_names_the_broken_compilation() -> None:
    check = lambda: assert_op(breaks_graph, lambda x: x**2, [(X,)], differentiable=[0])  # noqa: E731
    assert broken_laws(check) == {"compile"}


def test_assert_op_rejects_what_checks_nothing() -> None:
    with pytest.raises(ValueError, match="must hold a sample"):
        assert_op(torch.square, torch.square, [])
    with pytest.raises(ValueError, match="names 'y', a real tensor in no sample"):
        assert_op(square, reference, [(X,)], differentiable=["x", "y"])


def test_assert_op_says_where() -> None:
    with pytest.raises(
        AssertionError, match=r"forward on sample 1 \(float32\[2, 3\], 2.0\): output"
    ):
        assert_op(lambda x, s: x * s, lambda x, s: x + s, [(torch.tensor(2.0), 2.0), (X, 2.0)])
