"""Rewiring: PyG transforms that change the edges of a graph, and the curvatures they go by."""

from gnnlib.rewiring import curvature as curvature
from gnnlib.rewiring._afrc import AFRC as AFRC
from gnnlib.rewiring._borf import BORF as BORF
from gnnlib.rewiring._fosr import FoSR as FoSR
from gnnlib.rewiring._laser import LASER as LASER
from gnnlib.rewiring._piorf import PIORF as PIORF
from gnnlib.rewiring._report import GraphReport as GraphReport
from gnnlib.rewiring._report import RewiringReport as RewiringReport
from gnnlib.rewiring._report import compare as compare
from gnnlib.rewiring._report import describe as describe
from gnnlib.rewiring._rewiring import Rewiring as Rewiring
from gnnlib.rewiring._sdrf import SDRF as SDRF
