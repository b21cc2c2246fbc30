"""Curvatures of edges: how much the surroundings of their two ends overlap."""

from gnnlib.rewiring.curvature._augmented_forman import augmented_forman as augmented_forman
from gnnlib.rewiring.curvature._balanced_forman import balanced_forman as balanced_forman
