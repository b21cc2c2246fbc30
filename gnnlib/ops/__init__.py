"""Fast, deterministic, differentiable aggregation over graphs.

Every operator has a kernel on the stable ABI of PyTorch and a short pure-torch reference beside it.
"""

from gnnlib.ops._edge_dot import edge_dot as edge_dot
from gnnlib.ops._gate_rows import gate_rows as gate_rows
from gnnlib.ops._gather_edge_relu import gather_edge_relu as gather_edge_relu
from gnnlib.ops._gather_reduce import gather_reduce as gather_reduce
from gnnlib.ops._gather_statistics import gather_statistics as gather_statistics
