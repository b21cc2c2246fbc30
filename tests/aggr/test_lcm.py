"""LCMAggregation is the tree of its definition, and obeys every law that PyG's breaks."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import LCMAggregation as PyGLCM
from torch_geometric.nn import SAGEConv

from gnnlib import aggr
from gnnlib.aggr import LCMAggregation, regularization
from gnnlib.testing import assert_aggregation

# Of torch's own matrix products: their last bits depend on the number of threads.
PRODUCTS = {"eval_deterministic": "torch's matrix products differ on one thread and on two"}


def oracle(module: LCMAggregation, x: Tensor, index: Tensor, size: int) -> Tensor:
    """The plain recursion, with torch's own cell."""
    weights = {name: p.double() for name, p in module.named_parameters()}
    x = x.double()
    if module.project:
        x = (x @ weights["lin.weight"].T + weights["lin.bias"]).relu()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell = [weights[f"gru_cell.{name}"] for name in names]

    def tree(rows: list[Tensor]) -> Tensor:
        if len(rows) == 1:
            return rows[0]
        met = [
            (torch.gru_cell(a[None], b[None], *cell) + torch.gru_cell(b[None], a[None], *cell))[0]
            / 2
            for a, b in zip(rows[::2], rows[1::2], strict=False)
        ]
        return tree(met + rows[len(rows) // 2 * 2 :])

    empty = weights.get("empty.row", x.new_zeros(module.out_channels))
    groups = [list(x[index == i]) for i in range(size)]
    return torch.stack([tree(rows) if rows else empty for rows in groups])


@pytest.mark.parametrize("identity", ["zeros", "learned"])
@pytest.mark.parametrize("project", [True, False])
def test_is_the_tree_of_its_definition(identity: str, project: bool) -> None:
    torch.manual_seed(0)
    module = LCMAggregation(6, 6, project, identity=identity, shuffle=False)  # type: ignore[arg-type]
    index, x = torch.randint(7, (60,)), torch.randn(60, 6)
    out = module(x, index, dim_size=9)
    torch.testing.assert_close(out.double(), oracle(module, x, index, 9), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LCMAggregation(8, 8, shuffle=False),
        lambda: LCMAggregation(8, 9, shuffle=False),
        lambda: LCMAggregation(8, 8, project=False, shuffle=False),
    ],
)
def test_laws(make) -> None:  # type: ignore[no-untyped-def]
    assert_aggregation(make, invariant=False, skip=PRODUCTS)


def test_laws_of_a_learned_identity() -> None:
    assert_aggregation(
        lambda: LCMAggregation(8, 8, identity="learned", shuffle=False),
        invariant=False,
        zero_gradient=["empty.row"],
        skip=PRODUCTS,
    )


def test_laws_of_any_operation() -> None:
    eager = "the number of levels is the data's, and the operation is the user's"
    skip = dict.fromkeys(("torch_compile", "torch_export", "torch_export_dynamic"), eager)
    assert_aggregation(lambda: LCMAggregation(8, op=torch.maximum, shuffle=False), skip=skip)
    assert_aggregation(
        lambda: LCMAggregation(8, symmetric=False, shuffle=False),
        invariant=False,
        skip=skip | PRODUCTS,
    )


def test_equals_pygs_where_that_one_pads_nothing() -> None:
    theirs, ours = PyGLCM(6, 8), LCMAggregation(6, 8)
    ours.load_state_dict(theirs.state_dict())
    assert PyGLCM is not LCMAggregation
    for size in (1, 2, 4, 7, 8):
        x, index = torch.randn(3 * size, 6), torch.arange(3).repeat_interleave(size)
        torch.testing.assert_close(ours.eval()(x, index), theirs(x, index))


def test_by_name_and_in_any_width() -> None:
    conv = SAGEConv(8, 16, aggr="lcm")
    assert type(conv.aggr_module) is LCMAggregation
    edge_index = torch.randint(10, (2, 40))
    assert conv(torch.randn(10, 8), edge_index).shape == (10, 16)
    assert conv.aggr_module.in_channels == 8
    named = SAGEConv(8, 16, aggr="lcm", aggr_kwargs={"in_channels": 8, "out_channels": 8})
    named.load_state_dict(conv.state_dict())


def test_lazy_weights_are_loaded_and_checked() -> None:
    known, lazy = LCMAggregation(6, 8), LCMAggregation(-1, 8)
    lazy.load_state_dict(known.state_dict())
    x, index = torch.randn(9, 6), torch.randint(3, (9,))
    assert torch.equal(lazy.eval()(x, index), known.eval()(x, index))
    fresh = LCMAggregation()
    copied = copy.deepcopy(fresh)
    assert copied(x, index).shape == (3, 6)
    assert copied.out_channels == 6
    with pytest.raises(ValueError, match=r"in_channels=6 columns, got 5"):
        copied(torch.randn(9, 5), index)


def test_shuffles_in_training_alone_and_from_the_generator() -> None:
    module = LCMAggregation(4, project=False)
    x, index = torch.randn(40, 4), torch.randint(3, (40,))

    def run(seed: int) -> Tensor:
        return module(x, index, generator=torch.Generator(x.device).manual_seed(seed))

    before = torch.get_rng_state()
    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
    assert torch.equal(torch.get_rng_state(), before)
    module.eval()
    assert torch.equal(run(0), run(1))


@pytest.mark.parametrize("name", ["LCMAggregation", "GRUAggregation"])
def test_a_shuffle_needs_no_new_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = getattr(aggr, name)(4, 4)
    x, index = torch.randn(40, 4), torch.randint(3, (40,))
    module(x, index).sum().backward()

    def planned(*_: object) -> None:
        raise AssertionError("planned again")

    monkeypatch.setattr("gnnlib.ops._tree._plan", planned)
    monkeypatch.setattr("gnnlib.ops._scan._plan", planned)
    module(x, index).sum().backward()


def test_a_shuffled_group_keeps_its_own_rows() -> None:
    module = LCMAggregation(2, project=False, op=torch.maximum)
    x, index = torch.randn(40, 2), torch.randint(5, (40,))
    expected = torch.stack([x[index == i].amax(0) for i in range(5)])
    assert torch.equal(module.train()(x, index), expected)


def test_regularizers() -> None:
    x, index = torch.randn(30, 4), torch.randint(3, (30,))
    associative = LCMAggregation(4, op=torch.maximum, project=False, associativity=2.0)
    associative(x, index)
    assert regularization(associative) == 0

    class Minus(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a - b

    model = nn.ModuleList(
        LCMAggregation(
            4, op=Minus(), project=False, symmetric=False, associativity=a, commutativity=c
        )
        for a, c in ((0.5, 0.0), (0.0, 0.25))
    )
    ones = torch.ones(30, 4)
    for module in model:
        module(ones, index)
    # Of ones: (1 - 1) - 1 against 1 - (1 - 1), 2 apart, and for half of the samples, where x is
    # 1 - 1, 1 less and 2 apart again, in 4 columns; 1 - 1 commutes.
    assert regularization(model).item() == pytest.approx(0.5 * 4 * 4)
    assert regularization(model) == 0  # collected once
    learned = LCMAggregation(4, associativity=0.1)
    learned(x, index)
    regularization(learned).backward()
    assert all(p.grad is not None and p.grad.any() for p in learned.parameters())
    learned(x, index)
    assert regularization(copy.deepcopy(learned)) == 0
    assert regularization(learned) > 0
    learned.eval()(x, index)
    assert regularization(learned) == 0


def test_the_regularizer_makes_the_operation_associate() -> None:
    torch.manual_seed(0)
    module = LCMAggregation(4, project=False, associativity=1.0)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    x, index = torch.randn(64, 4), torch.zeros(64, dtype=torch.long)
    found = []
    for _ in range(60):
        module(x, index)
        penalty = regularization(module)
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        found.append(penalty.item())
    assert found[-1] < found[0] / 2


def test_a_hub_of_a_million_rows() -> None:
    module = LCMAggregation(4).eval()
    index = torch.cat([torch.zeros(1_000_000, dtype=torch.long), torch.tensor([1, 2, 2])])
    x = torch.randn(1_000_003, 4, requires_grad=True)
    out = module(x, index)
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    torch.testing.assert_close(out[1:], module(x[-3:], index[-3:] - 1))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"in_channels": 0}, "`in_channels` must be positive"),
        ({"out_channels": 0}, "`out_channels` must be positive"),
        ({"out_channels": 5, "project": False}, "must be in_channels=8"),
        ({"associativity": -0.1}, "`associativity` must be a finite weight"),
        ({"commutativity": -0.1}, "`commutativity` must be a finite weight"),
        ({"commutativity": 0.1}, "must be 0 for a symmetric operation"),
        ({"identity": "ones"}, "`identity` must be"),
        ({"op": lambda a, b: torch.cat([a, b], -1)}, r"`op` must map two \[P, 8\]"),
    ],
)
def test_bad_options(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        LCMAggregation(**{"in_channels": 8, **options})  # type: ignore[arg-type]


def test_a_lazy_operation_is_checked_when_the_width_is_known() -> None:
    module = LCMAggregation(op=lambda a, _: a[:, :1])
    with pytest.raises(ValueError, match=r"`op` must map two"):
        module(torch.randn(5, 3), torch.zeros(5, dtype=torch.long))
