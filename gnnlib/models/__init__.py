"""Whole networks, built from the layers."""

from gnnlib.models._build import ModelConfig as ModelConfig
from gnnlib.models._build import build as build
from gnnlib.models._cognn import CoGNN as CoGNN
from gnnlib.models._dir_gnn import DirGNN as DirGNN
