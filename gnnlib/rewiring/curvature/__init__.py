"""Curvatures of edges: how much the surroundings of their two ends overlap."""

from gnnlib.rewiring.curvature._augmented_forman import augmented_forman as augmented_forman
from gnnlib.rewiring.curvature._balanced_forman import balanced_forman as balanced_forman
from gnnlib.rewiring.curvature._effective_resistance import (
    effective_resistance as effective_resistance,
)
from gnnlib.rewiring.curvature._effective_resistance import (
    total_effective_resistance as total_effective_resistance,
)
from gnnlib.rewiring.curvature._forman import forman as forman
from gnnlib.rewiring.curvature._jost_liu import jost_liu as jost_liu
from gnnlib.rewiring.curvature._node_mean import node_mean as node_mean
from gnnlib.rewiring.curvature._ollivier_ricci import ollivier_ricci as ollivier_ricci
from gnnlib.rewiring.curvature._transport import TransportPlan as TransportPlan
from gnnlib.rewiring.curvature._transport import transport_plan as transport_plan
