"""Fast, deterministic, differentiable aggregation over graphs.

Every operator has a kernel on the stable ABI of PyTorch and a short pure-torch reference beside it.
"""

from gnnlib.ops._additive_score import additive_score as additive_score
from gnnlib.ops._composite import scatter_log_softmax as scatter_log_softmax
from gnnlib.ops._composite import scatter_logsumexp as scatter_logsumexp
from gnnlib.ops._composite import scatter_softmax as scatter_softmax
from gnnlib.ops._composite import scatter_std as scatter_std
from gnnlib.ops._edge_add import edge_add as edge_add
from gnnlib.ops._edge_dot import edge_dot as edge_dot
from gnnlib.ops._gate_rows import gate_rows as gate_rows
from gnnlib.ops._gather_activate import gather_activate as gather_activate
from gnnlib.ops._gather_attend import gather_attend as gather_attend
from gnnlib.ops._gather_complex import gather_complex as gather_complex
from gnnlib.ops._gather_edge_relu import gather_edge_relu as gather_edge_relu
from gnnlib.ops._gather_reduce import gather_reduce as gather_reduce
from gnnlib.ops._gather_softmax import gather_softmax as gather_softmax
from gnnlib.ops._gather_statistics import gather_statistics as gather_statistics
from gnnlib.ops._logmeanexp import segment_logmeanexp as segment_logmeanexp
from gnnlib.ops._scan import segment_scan as segment_scan
from gnnlib.ops._scatter import scatter as scatter
from gnnlib.ops._scatter import scatter_add as scatter_add
from gnnlib.ops._scatter import scatter_max as scatter_max
from gnnlib.ops._scatter import scatter_mean as scatter_mean
from gnnlib.ops._scatter import scatter_min as scatter_min
from gnnlib.ops._scatter import scatter_mul as scatter_mul
from gnnlib.ops._scatter import scatter_sum as scatter_sum
from gnnlib.ops._segment_coo import gather_coo as gather_coo
from gnnlib.ops._segment_coo import segment_add_coo as segment_add_coo
from gnnlib.ops._segment_coo import segment_coo as segment_coo
from gnnlib.ops._segment_coo import segment_max_coo as segment_max_coo
from gnnlib.ops._segment_coo import segment_mean_coo as segment_mean_coo
from gnnlib.ops._segment_coo import segment_min_coo as segment_min_coo
from gnnlib.ops._segment_coo import segment_sum_coo as segment_sum_coo
from gnnlib.ops._segment_csr import gather_csr as gather_csr
from gnnlib.ops._segment_csr import segment_add_csr as segment_add_csr
from gnnlib.ops._segment_csr import segment_csr as segment_csr
from gnnlib.ops._segment_csr import segment_max_csr as segment_max_csr
from gnnlib.ops._segment_csr import segment_mean_csr as segment_mean_csr
from gnnlib.ops._segment_csr import segment_min_csr as segment_min_csr
from gnnlib.ops._segment_csr import segment_sum_csr as segment_sum_csr
from gnnlib.ops._softmax import segment_logsumexp as segment_logsumexp
from gnnlib.ops._softmax import segment_softmax as segment_softmax
from gnnlib.ops._tree import tree_plan as tree_plan
from gnnlib.ops._tree import tree_reduce as tree_reduce
