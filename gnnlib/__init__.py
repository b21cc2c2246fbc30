"""gnnlib: cooperative, delayed, directed and rewired message passing for PyTorch Geometric."""

from gnnlib import aggr as aggr
from gnnlib import datasets as datasets
from gnnlib import encodings as encodings
from gnnlib import layers as layers
from gnnlib import models as models
from gnnlib import ops as ops
from gnnlib import rewiring as rewiring
from gnnlib.accelerate import accelerate as accelerate
from gnnlib.adjacency import Adjacency as Adjacency
from gnnlib.edges import Edges as Edges
from gnnlib.history import History as History
from gnnlib.report import report as report
from gnnlib.swap import swap as swap

__version__ = "0.1.0"
