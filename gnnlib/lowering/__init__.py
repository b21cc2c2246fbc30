"""How convs run on our kernels: one table from conv class to a function of ``(conv, x, edges)``.

:func:`run` is the innermost call of every wrapper, and :func:`gnnlib.accelerate` the same table
applied to a model. A conv in the table runs as node-level projections around kernels that gather
and reduce at once; any other takes the general path, PyG's own ``forward`` on the edges that the
gates leave. Both give an absent edge the same meaning: it is not there.

In here edges always point the way messages go, from source to target, whatever the conv's ``flow``.
"""

from gnnlib.lowering._aggregate import aggregate as aggregate
from gnnlib.lowering._aggregate import degrees as degrees
from gnnlib.lowering._aggregate import listened as listened
from gnnlib.lowering._aggregation import LINEAR as LINEAR
from gnnlib.lowering._aggregation import aggregate_as as aggregate_as
from gnnlib.lowering._both_ways import Way as Way
from gnnlib.lowering._both_ways import heard_both_ways as heard_both_ways
from gnnlib.lowering._both_ways import scales as scales
from gnnlib.lowering._both_ways import sum_of_both_ways as sum_of_both_ways
from gnnlib.lowering._class import class_of as class_of
from gnnlib.lowering._linear import hooked as hooked
from gnnlib.lowering._linear import is_plain as is_plain
from gnnlib.lowering._propagation import gcn_aggregate as gcn_aggregate
from gnnlib.lowering._propagation import inverse_root as inverse_root
from gnnlib.lowering._row import Features as Features
from gnnlib.lowering._row import sides as sides
from gnnlib.lowering._run import message_edges as message_edges
from gnnlib.lowering._run import run as run
from gnnlib.lowering._run import serves as serves
from gnnlib.lowering._table import lowering_of as lowering_of
from gnnlib.lowering._table import row_of as row_of
from gnnlib.lowering._table import watched as watched
from gnnlib.lowering._table import why_not as why_not
