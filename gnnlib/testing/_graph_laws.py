"""The laws about what a layer computes: symmetries, odd graphs, and the forms an input may take."""

import copy
import inspect
import warnings
from functools import partial

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ._case import Case, Graph, accepts, supported
from ._report import check_close

with warnings.catch_warnings():
    # PyG scripts a few functions as it is imported, for which torch warns of its own deprecation.
    warnings.filterwarnings("ignore", r"`torch.jit.script` is deprecated", DeprecationWarning)
    from torch_geometric import EdgeIndex  # type: ignore[import-untyped, unused-ignore]
    from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
        Batch,
        Data,
    )


def node_permutation(case: Case) -> None:
    """Renaming the nodes renames the rows of the output and changes nothing else."""
    layer, graph = case.layer(), case.graph()
    order = case.shuffle(graph.x.size(0))
    renamed = Graph(graph.x[order], order.argsort()[graph.edge_index], graph.edge_attr)
    check_close(case.call(layer, renamed), case.call(layer, graph)[order], "renamed nodes")


def edge_order(case: Case) -> None:
    """The order in which edges are listed does not matter."""
    layer, graph = case.layer(), case.graph()
    shuffled = graph.reordered(case.shuffle(graph.edge_index.size(1)))
    check_close(case.call(layer, shuffled), case.call(layer, graph), "shuffled edges")


def batch_independence(case: Case) -> None:
    """A graph alone and the same graph inside a batch give the same rows."""
    layer = case.layer()
    sizes = ((5, 12), (2, 1), (9, 60))
    graphs = [case.graph(*size, seed=10 * i) for i, size in enumerate(sizes)]
    batch = Batch.from_data_list(
        [Data(x=g.x, edge_index=g.edge_index, edge_attr=g.edge_attr) for g in graphs]
    )
    together = case.call(layer, Graph(batch.x, batch.edge_index, batch.edge_attr))
    rows = torch.split(together, [g.x.size(0) for g in graphs])
    for i, (graph, inside) in enumerate(zip(graphs, rows, strict=True)):
        check_close(inside, case.call(layer, graph), f"graph {i} in a batch against alone")


def _runs(case: Case, graph: Graph) -> None:
    """Forward and backward work, with the usual width and nothing infinite or NaN."""
    layer = case.layer()
    width = case.call(layer, case.graph()).size(1)
    graph.x.requires_grad_()
    out = case.call(layer, graph)
    if out.size(1) != width:
        raise AssertionError(f"the output has {out.size(1)} columns here, {width} elsewhere")
    case.backward(out)
    if graph.x.grad is None:
        raise AssertionError("no gradient reaches `x`")
    gradients = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    for name, value in {"output": out, "gradient of x": graph.x.grad, **gradients}.items():
        if not value.isfinite().all():
            raise AssertionError(f"the {name} is not finite")


def zero_edges(case: Case) -> None:
    """A graph without edges is a graph."""
    _runs(case, case.on(5, []))


def isolated_nodes(case: Case) -> None:
    """Nodes with no edge at all, the last ones included, or edges one way only, get a row."""
    _runs(case, case.on(8, [(0, 1), (1, 2), (2, 0), (3, 0), (1, 4)]))


def self_loops(case: Case) -> None:
    """Edges from a node to itself are edges, beside others or alone."""
    loops = [(i, i) for i in range(4)]
    _runs(case, case.on(4, loops))
    _runs(case, case.on(4, [(0, 1), *loops, (2, 3), (1, 1)]))


def multi_edges(case: Case) -> None:
    """Several edges between the same two nodes are edges."""
    _runs(case, case.on(4, [(0, 1), (2, 1), (0, 1), (1, 3), (0, 1), (1, 3)]))


def one_node(case: Case) -> None:
    """A graph of one node works, with and without a self loop."""
    _runs(case, case.on(1, []))
    _runs(case, case.on(1, [(0, 0)]))


def zero_nodes(case: Case) -> None:
    """The empty graph gives an output with no rows, and a backward pass."""
    _runs(case, case.on(0, []))


def flow(case: Case) -> None:
    """`flow="target_to_source"` is the same as turning every edge around.

    Holds for factories that take `flow` and for layers that have it as an attribute.
    """
    parameters = inspect.signature(case.make).parameters
    graph = case.graph()
    turned = Graph(graph.x, graph.edge_index.flip(0), graph.edge_attr)
    if "flow" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        forth = supported(lambda: case.layer(flow="source_to_target"))
        back = supported(lambda: case.layer(flow="target_to_source"))
        if forth is None or back is None:
            return
    elif hasattr(forth := case.layer(), "flow"):
        back = copy.deepcopy(forth)
        forth.flow, back.flow = "source_to_target", "target_to_source"
    else:
        return
    check_close(case.call(back, graph), case.call(forth, turned), "edges against the flow")


def bipartite(case: Case) -> None:
    """A pair `(x_src, x_dst)` gives a row for each target, and `(x, x)` the same as `x`."""
    layer, whole = case.layer(), case.graph()
    plain = case.call(layer, whole)
    pair = Graph((whole.x, whole.x), whole.edge_index, whole.edge_attr)
    twice = supported(lambda: case.call(layer, pair))
    if twice is None:
        return
    check_close(twice, plain, "(x, x) against x")
    for num_src, num_dst in ((7, 4), (3, 9)):
        edges = [(i % num_src, (2 * i) % num_dst) for i in range(20)]
        sources, targets = case.on(num_src, edges), case.on(num_dst, edges, seed=3)
        sources.x.requires_grad_()
        out = case.call(layer, Graph((sources.x, targets.x), sources.edge_index, sources.edge_attr))
        case.backward(out)
        if not out.isfinite().all() or sources.x.grad is None or not sources.x.grad.any():
            raise AssertionError("the output is not finite, or no gradient reaches `x_src`")


def lazy_channels(case: Case) -> None:
    """`in_channels=-1` is worked out at the first call, and then the layer is like any other."""
    graph = case.graph()
    lazy = supported(lambda: case.layer(in_channels=-1))
    if lazy is None:
        return
    out = case.call(lazy, graph)
    if left := [name for name, parameter in lazy.named_parameters() if is_lazy(parameter)]:
        raise AssertionError(f"{left} have no shape after the first call")
    layer = case.layer()
    layer.load_state_dict(lazy.state_dict())
    check_close(out, case.call(layer, graph), "lazy against given in_channels")


def edge_index_class(case: Case) -> None:
    """PyG's `EdgeIndex`, sorted or not, gives what the plain tensor gives."""
    layer, graph = case.layer(), case.graph()
    num_nodes = graph.x.size(0)
    for sort_order, row in ((None, None), ("row", 0), ("col", 1)):
        if row is not None:
            graph = graph.reordered(graph.edge_index[row].argsort(stable=True))
        edges = EdgeIndex(graph.edge_index, sparse_size=(num_nodes, num_nodes))
        edges = edges if sort_order is None else EdgeIndex(edges, sort_order=sort_order)
        given = Graph(graph.x, edges, graph.edge_attr)
        out = supported(partial(case.call, layer, given))
        if out is not None:
            check_close(out, case.call(layer, graph), f"EdgeIndex with sort_order={sort_order}")


def sparse_adjacency(case: Case) -> None:
    """A `torch.sparse` matrix `adj_t [N_dst, N_src]` of ones gives what the plain tensor gives.

    Edge attributes come in the order in which the matrix stores its entries.
    """
    layer, graph = case.layer(), case.simple_graph()
    by_source = graph.reordered(graph.edge_index[0].argsort(stable=True))
    for layout, stored in (
        (torch.sparse_coo, graph),
        (torch.sparse_csr, graph),
        (torch.sparse_csc, by_source),
    ):
        adj_t = _adj_t(graph, case).to_sparse(layout=layout)
        given = Graph(graph.x, adj_t, stored.edge_attr)
        out = supported(partial(case.call, layer, given))
        if out is not None:
            check_close(out, case.call(layer, graph), f"adj_t as {layout}")


def _adj_t(graph: Graph, case: Case) -> Tensor:
    num_nodes = graph.x.size(0)
    ones = torch.ones(graph.edge_index.size(1), dtype=case.dtype, device=case.device)
    size = (num_nodes, num_nodes)
    return torch.sparse_coo_tensor(graph.edge_index.flip(0), ones, size).coalesce()


def edge_weight(case: Case) -> None:
    """A weight an edge is differentiable and stays with its edge, or is refused with a reason."""
    layer, graph = case.layer(), case.graph()
    if not accepts(layer.forward, "edge_weight"):
        raise AssertionError("`forward` has no parameter `edge_weight`")
    weight = case.draw(graph.edge_index.size(1)).sigmoid().requires_grad_()
    out = supported(lambda: case.call(layer, graph, edge_weight=weight))
    if out is not None:
        _signal(case, graph, out, "edge_weight", weight)


def edge_attr(case: Case) -> None:
    """Edge features are differentiable and stay with their edge, or are refused with a reason.

    A layer that needs them (`edge_dim` was given) may not refuse.
    """
    layer, graph = case.layer(), case.graph()
    if case.edge_dim is None and not accepts(layer.forward, "edge_attr"):
        return
    attr = case.draw(graph.edge_index.size(1), case.edge_dim or 3).requires_grad_()
    call = partial(case.call, layer, graph, edge_attr=attr)
    out = call() if case.edge_dim else supported(call)
    if out is not None:
        _signal(case, graph, out, "edge_attr", attr)


def _signal(case: Case, graph: Graph, out: Tensor, name: str, value: Tensor) -> None:
    case.backward(out)
    if value.grad is None or not value.grad.any() or not value.grad.isfinite().all():
        raise AssertionError(f"no finite gradient other than zero reaches `{name}`")
    layer = case.layer()
    width = case.call(layer, graph).size(1)
    if out.size(1) != width:
        raise AssertionError(f"`{name}` changes the width from {width} to {out.size(1)}")
    # Sorting by target keeps the order within each neighbourhood, so that this holds for
    # aggregations that read their neighbours in order, too.
    order = graph.edge_index[1].argsort(stable=True)
    moved = case.call(layer, graph.reordered(order), **{name: value[order]})
    check_close(moved, out, f"`{name}` with its edges in another order")
