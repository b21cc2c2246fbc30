"""Rewiring: PyG transforms that change the edges of a graph, and the curvatures they go by."""

from gnnlib.rewiring import curvature as curvature
from gnnlib.rewiring._fosr import FoSR as FoSR
from gnnlib.rewiring._rewiring import Rewiring as Rewiring
