"""Fast, deterministic, differentiable aggregation over graphs.

Every operator has a kernel on the stable ABI of PyTorch and a short pure-torch reference beside it.
"""

from gnnlib.ops._additive_score import additive_score as additive_score
from gnnlib.ops._edge_add import edge_add as edge_add
from gnnlib.ops._edge_dot import edge_dot as edge_dot
from gnnlib.ops._gate_rows import gate_rows as gate_rows
from gnnlib.ops._gather_attend import gather_attend as gather_attend
from gnnlib.ops._gather_edge_relu import gather_edge_relu as gather_edge_relu
from gnnlib.ops._gather_reduce import gather_reduce as gather_reduce
from gnnlib.ops._gather_softmax import gather_softmax as gather_softmax
from gnnlib.ops._gather_statistics import gather_statistics as gather_statistics
from gnnlib.ops._softmax import segment_logsumexp as segment_logsumexp
from gnnlib.ops._softmax import segment_softmax as segment_softmax
