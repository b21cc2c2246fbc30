"""The laws of ops, layers, aggregations and rewirings, as assertions for anyone's own code."""

from ._aggregation import assert_aggregation as assert_aggregation
from ._layer import assert_layer as assert_layer
from ._op import assert_op as assert_op
from ._rewiring import assert_rewiring as assert_rewiring
from ._trial import Sample as Sample
