"""`assert_layer`, and the table of laws that it runs."""

from collections.abc import Callable, Collection, Mapping

import torch

from . import _graph_laws as graph
from . import _module_laws as module
from ._case import Case
from ._report import Report, sandbox

LAWS: dict[str, Callable[[Case], None]] = {
    law.__name__: law
    for law in (
        graph.node_permutation,
        graph.edge_order,
        graph.batch_independence,
        graph.zero_edges,
        graph.isolated_nodes,
        graph.self_loops,
        graph.multi_edges,
        graph.one_node,
        graph.zero_nodes,
        graph.flow,
        graph.bipartite,
        graph.lazy_channels,
        graph.edge_index_class,
        graph.sparse_adjacency,
        graph.edge_weight,
        graph.edge_attr,
        module.parameter_gradients,
        module.pure_forward,
        module.no_cache,
        module.state_dict,
        module.deepcopy,
        module.reset_parameters,
        module.representation,
        module.torch_compile,
        module.torch_export,
        module.torch_export_dynamic,
        module.eval_deterministic,
        module.generator,
    )
}


def assert_layer(
    make: Callable[..., torch.nn.Module],
    *,
    in_channels: int = 8,
    out_channels: int = 6,
    edge_dim: int | None = None,
    zero_gradient: Collection[str] = (),
    skip: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    backend: str = "aot_eager",
    seed: int = 0,
) -> None:
    """Check that a message passing layer obeys every law a PyG user relies on.

    The layer is called as `forward(x, edge_index, edge_weight=None, edge_attr=None)`, in eval mode
    except where training is the matter, and a `generator` is passed in training if `forward`
    takes one. The laws, by name:

    - `node_permutation`, `edge_order`: names of nodes and the order of edges do not matter.
    - `batch_independence`: a graph gives the same rows alone and inside a batch.
    - `zero_edges`, `isolated_nodes`, `self_loops`, `multi_edges`, `one_node`, `zero_nodes`: the
      output has the right shape, and it and all gradients are finite.
    - `flow`: `"target_to_source"` equals turned edges, if `make` or the layer knows `flow`.
    - `bipartite`, `lazy_channels`, `edge_index_class` (PyG's `EdgeIndex`), `sparse_adjacency`
      (`adj_t` as COO, CSR and CSC), `edge_weight`, `edge_attr`: supported, and then equal to the
      plain input or differentiable, or refused by a `ValueError` that says why.
    - `parameter_gradients`: every parameter gets a gradient that is not all zero.
    - `pure_forward`, `no_cache`: a call changes no parameter, buffer or input, and remembers
      nothing of the graph.
    - `state_dict`, `deepcopy`, `reset_parameters`, `representation`: saves, copies, starts over
      and prints as a module should.
    - `torch_compile`, `torch_export`, `torch_export_dynamic`: equal to eager; dynamic means any
      number of nodes and edges.
    - `eval_deterministic`: the same bits on every call and on one thread or two.
    - `generator`: chance in training comes from `generator` and never from the global state.

    Args:
        make: `make(in_channels, out_channels)` returns a fresh layer; a layer class is one. It is
            also called with `in_channels=-1`, and with `flow=` if it takes that.
        in_channels: Width of the features `x [N, in_channels]`.
        out_channels: Passed on to `make`.
        edge_dim: If given, every call passes `edge_attr [E, edge_dim]`.
        zero_gradient: Names of parameters whose gradient may be all zero (but not missing).
        skip: Laws not to check, each with the reason why it does not apply.
        dtype: Of features and parameters.
        device: Where the layer is tried; by default where torch makes new tensors.
        backend: Of `torch.compile`; the default checks the traced graphs without building code.
        seed: Of weights and data; the global random state is left alone.

    Raises:
        AssertionError: If laws are broken; it names each with what went wrong.
        ValueError: If `skip` names no law, or gives no reason.

    Example:
        >>> from torch_geometric.nn import SAGEConv
        >>> assert_layer(SAGEConv, skip={"edge_weight": "SAGEConv takes none"})
    """
    skip = skip or {}
    if unknown := sorted(set(skip) - set(LAWS)):
        raise ValueError(f"`skip` must name laws, got {unknown} (the laws are {list(LAWS)})")
    if silent := sorted(name for name, reason in skip.items() if not reason.strip()):
        raise ValueError(f"`skip` must say why, got no reason for {silent}")
    case = Case(
        make=make,
        in_channels=in_channels,
        out_channels=out_channels,
        edge_dim=edge_dim,
        zero_gradient=zero_gradient,
        dtype=dtype,
        device=torch.get_default_device() if device is None else torch.device(device),
        backend=backend,
        seed=seed,
    )
    report = Report(str(getattr(make, "__name__", make)))
    with sandbox():
        for name, law in LAWS.items():
            if name not in skip:
                with report.law(name):
                    law(case)
    report.raise_if_broken()
