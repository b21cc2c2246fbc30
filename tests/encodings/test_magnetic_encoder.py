"""MagneticEncoder, against its formulas node by node, and what must not change its results."""

import copy

import pytest
import torch
from digraphs import data_of, permuted, random_dag, random_digraph, turned
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnlib.encodings import AddMagneticLaplacianPE, MagneticEncoder

K, OUT, HIDDEN = 5, 7, 6


def encoder(invariant: bool, k: int = K) -> MagneticEncoder:
    torch.manual_seed(0)
    net = MagneticEncoder(k, OUT, HIDDEN, num_layers=2, invariant=invariant, act="tanh")
    return net.double().eval()


def encoded(data: Data, k: int = K) -> Data:
    """In double precision; of a `Batch` too."""
    torch.set_default_dtype(torch.float64)
    try:
        return AddMagneticLaplacianPE(k)(data)
    finally:
        torch.set_default_dtype(torch.float32)


def call(net: MagneticEncoder, data: Data, turn: Tensor | None = None) -> Tensor:
    pe = data.magnetic_pe if turn is None else data.magnetic_pe @ turn.to(torch.complex128)
    batch = data.batch if isinstance(data, Batch) else None
    return net(pe, data.magnetic_pe_values, data.magnetic_pe_mask, batch, data.edge_index)


def kernel(net: MagneticEncoder, data: Data) -> Tensor:
    """``[N, N, C]``: one graph's pair kernel, from its definition."""
    response = net.filter(data.magnetic_pe_values[0].unsqueeze(-1)).to(torch.complex128)
    response = response * data.magnetic_pe_mask[0].unsqueeze(-1)
    v = data.magnetic_pe
    return len(v) * torch.einsum("im,jm,mc->ijc", v, v.conj(), response)


def oracle(net: MagneticEncoder, data: Data) -> Tensor:
    rows = []
    v, count = torch.view_as_real(data.magnetic_pe), int(data.magnetic_pe_mask.sum())
    v = v * len(v) ** 0.5
    for i in range(len(v)):
        if net.invariant:
            pairs = kernel(net, data)
            source, target = data.edge_index
            heard = (source[target == i], target[source == i])
            means = [pairs[i].mean(0)]
            means += [pairs[i, h].mean(0) if len(h) else 0 * pairs[i, 0] for h in heard]
            parts = [pairs[i, i].real] + [part for m in means for part in (m.real, m.imag)]
        else:
            parts = []
            for m in range(net.k):
                level = data.magnetic_pe_values[0, m : m + 1]
                both = net.phi(v[i, m][None])[0] + net.phi(-v[i, m][None])[0]
                parts += [both, level] if m < count else [0 * both, 0 * level]
        rows.append(net.rho(torch.cat(parts)[None])[0])
    return torch.stack(rows)


@pytest.mark.parametrize("invariant", [True, False])
def test_formulas(invariant: bool) -> None:
    net = encoder(invariant)
    for data in (random_digraph(9, 20), random_dag(3, 5), data_of([(0, 1), (0, 1), (1, 1)], 2)):
        data = encoded(data)
        torch.testing.assert_close(call(net, data), oracle(net, data))


def test_pair_kernel() -> None:
    net, data = encoder(True), encoded(random_digraph(9, 20))
    pe = (data.magnetic_pe, data.magnetic_pe_values)
    expected = kernel(net, data)
    j, i = data.edge_index
    found = net.pair_kernel(*pe, data.edge_index, data.magnetic_pe_mask)
    expected = torch.cat([expected[i, j].real, expected[i, j].imag], dim=1)
    torch.testing.assert_close(found, expected)
    back = net.pair_kernel(*pe, data.edge_index.flip(0))
    torch.testing.assert_close(back, found * torch.tensor([1.0, -1.0]).repeat_interleave(HIDDEN))
    phases = torch.polar(torch.ones(K), torch.arange(K) + 0.5).to(torch.complex128)
    torch.testing.assert_close(net.pair_kernel(pe[0] * phases, pe[1], data.edge_index), found)
    both = Batch.from_data_list([encoded(random_dag(4, 6)), data])
    pe = (both.magnetic_pe, both.magnetic_pe_values, both.edge_index, both.magnetic_pe_mask)
    torch.testing.assert_close(net.pair_kernel(*pe, both.batch)[-len(found) :], found)
    with pytest.raises(ValueError, match="belongs to"):
        encoder(False).pair_kernel(data.magnetic_pe, data.magnetic_pe_values, data.edge_index)


@pytest.mark.parametrize("invariant", [True, False])
def test_signs_change_nothing(invariant: bool) -> None:
    net, data = encoder(invariant), encoded(random_digraph(12, 30))
    signs = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0]))
    torch.testing.assert_close(call(net, data, signs), call(net, data))


def test_phases_change_nothing_when_invariant() -> None:
    data = encoded(random_digraph(12, 30))
    phases = torch.diag(torch.polar(torch.ones(K), torch.rand(K) * 6 + 0.1))
    net = encoder(True)
    torch.testing.assert_close(call(net, data, phases), call(net, data))
    net = encoder(False)
    assert not torch.allclose(call(net, data, phases), call(net, data), atol=1e-3)


def test_bases_of_eigenspaces_change_nothing_when_invariant() -> None:
    """A star out of its centre has the eigenvalue 1 four times, whose vectors have no order."""
    data = encoded(data_of([(0, i) for i in range(1, 6)], 6))
    torch.testing.assert_close(data.magnetic_pe_values[0, 1:], torch.ones(4).double())
    generator = torch.Generator().manual_seed(0)
    turn = torch.eye(K, dtype=torch.complex128)
    random = torch.randn(4, 4, dtype=torch.complex128, generator=generator)
    turn[1:, 1:] = torch.linalg.qr(random)[0]
    net = encoder(True)
    torch.testing.assert_close(call(net, data, turn), call(net, data))
    # All leaves are alike, and the encoding says so, as no choice of vectors can.
    torch.testing.assert_close(call(net, data)[2:], call(net, data)[1:2].expand(4, -1))
    assert not torch.allclose(call(encoder(False), data, turn), call(encoder(False), data))


@pytest.mark.parametrize("invariant", [True, False])
def test_nodes_may_be_numbered_in_any_order(invariant: bool) -> None:
    data = random_digraph(15, 30)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(2))
    net = encoder(invariant)
    found, expected = (call(net, encoded(graph)) for graph in (permuted(data, order), data))
    torch.testing.assert_close(found, expected[order])


@pytest.mark.parametrize("invariant", [True, False])
def test_a_batch_is_its_graphs(invariant: bool) -> None:
    net = encoder(invariant)
    graphs = [encoded(random_digraph(9, 20)), encoded(data_of([], 1)), encoded(data_of([], 0))]
    graphs.append(encoded(random_dag(4, 6)))
    found = call(net, Batch.from_data_list(graphs))
    torch.testing.assert_close(found, torch.cat([call(net, graph) for graph in graphs]))


def test_what_it_knows_of_a_dag() -> None:
    """A path and the same path turned around: the ends are told apart, and swap."""
    path = data_of([(i, i + 1) for i in range(6)], 7)
    ahead, back = (call(encoder(True), encoded(graph)) for graph in (path, turned(path)))
    torch.testing.assert_close(ahead, back.flip(0))
    assert torch.pdist(ahead).min() > 1e-3
    # Without a potential both directions are the same, and so are both ends.
    plain = AddMagneticLaplacianPE(K, q=0)(path)
    undirected = torch.cat([path.edge_index, path.edge_index.flip(0)], dim=1)
    pairs = (plain.magnetic_pe, plain.magnetic_pe_values)
    total = encoder(True)(*pairs, edge_index=undirected)
    torch.testing.assert_close(total, total.flip(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("invariant", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_every_parameter_learns(invariant: bool, num_layers: int) -> None:
    torch.manual_seed(0)
    net = MagneticEncoder(K, OUT, HIDDEN, num_layers, invariant=invariant, dropout=0.1)
    data = AddMagneticLaplacianPE(K)(random_digraph(30, 60))
    out = net(data.magnetic_pe, data.magnetic_pe_values, edge_index=data.edge_index)
    out.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("invariant", [True, False])
def test_as_a_module(invariant: bool) -> None:
    data = AddMagneticLaplacianPE(K, as_real=True)(random_digraph(12, 30))
    inputs = (data.magnetic_pe, data.magnetic_pe_values, data.magnetic_pe_mask, None)
    net = MagneticEncoder(K, OUT, HIDDEN, invariant=invariant).eval()
    expected = net(*inputs, data.edge_index)
    pe = torch.view_as_complex(data.magnetic_pe)
    assert torch.equal(net(pe, *inputs[1:], data.edge_index), expected)
    other = MagneticEncoder(K, OUT, HIDDEN, invariant=invariant).eval()
    assert not torch.allclose(other(*inputs, data.edge_index), expected)
    other.load_state_dict(net.state_dict())
    for same in (other, copy.deepcopy(net)):
        assert torch.equal(same(*inputs, data.edge_index), expected)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs, data.edge_index), expected)
    net.reset_parameters()
    assert not torch.allclose(net(*inputs, data.edge_index), expected)
    assert repr(net) == f"MagneticEncoder(5, 7, hidden_channels=6, invariant={invariant})"
    assert net.to(torch.bfloat16)(*inputs, data.edge_index).dtype == torch.bfloat16


def test_bad_input() -> None:
    for options, message in (
        ({"k": 0}, "`k` must be at least 1, got 0"),
        ({"num_layers": 0}, "`num_layers` must be at least 1, got 0"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\), got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            MagneticEncoder(**{"k": 3, "out_channels": 4, **options})
    net = MagneticEncoder(3, 4, invariant=True)
    pe, values = torch.zeros(5, 3, dtype=torch.complex64), torch.zeros(1, 3)
    for inputs, message in (
        ((pe[:, :2], values), r"`eigenvectors` must be \[N, 3\] complex or \[N, 3, 2\] real"),
        ((pe, values[:, :2]), r"`eigenvalues` must be \[B, 3\], got \[1, 2\]"),
        ((pe, values, torch.ones(1, 2)), r"`mask` must be \[1, 3\]"),
        ((pe, values.expand(2, 3)), "`batch` is needed for 2 graphs"),
        ((pe, values, None, torch.zeros(4).long()), r"`batch` must be \[5\], got \[4\]"),
        ((pe, values), "`edge_index` is needed with invariant=True"),
    ):
        with pytest.raises(ValueError, match=message):
            net(*inputs)
