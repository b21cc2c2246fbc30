"""Whole networks, built from the layers."""

from gnnlib.models._build import ModelConfig as ModelConfig
from gnnlib.models._build import build as build
from gnnlib.models._cognn import CoGNN as CoGNN
from gnnlib.models._digrac import DIGRAC as DIGRAC
from gnnlib.models._dir_gnn import DirGNN as DirGNN
from gnnlib.models._drew import DRew as DRew
from gnnlib.models._flow_imbalance import flow_imbalance_loss as flow_imbalance_loss
from gnnlib.models._gnn import GNN as GNN
from gnnlib.models._magnet import MagNet as MagNet
