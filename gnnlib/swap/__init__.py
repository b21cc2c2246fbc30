"""Change the layers of a model: who talks, when, which way, and how messages are combined.

:func:`swap` finds the PyG convs of a model and puts a composed layer in the place of each, from the
outside in: cooperative, directed, delayed, the conv itself, its aggregation.
"""

from gnnlib.swap._fates import Swapped as Swapped
from gnnlib.swap._swap import swap as swap
from gnnlib.swap._swapped import SwappedConv as SwappedConv
