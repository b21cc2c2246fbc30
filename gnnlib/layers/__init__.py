"""Layers that extend message passing: who talks, when, and which way."""

from gnnlib.layers._action_net import ActionNet as ActionNet
from gnnlib.layers._actions import Actions as Actions
from gnnlib.layers._actions import record_actions as record_actions
from gnnlib.layers._alpha import Alpha as Alpha
from gnnlib.layers._contextual import ContextualConv as ContextualConv
from gnnlib.layers._cooperative import CooperativeConv as CooperativeConv
from gnnlib.layers._cooperative import Temperature as Temperature
from gnnlib.layers._delayed import DelayedConv as DelayedConv
from gnnlib.layers._dimpa import DIMPAConv as DIMPAConv
from gnnlib.layers._directed import DirectedConv as DirectedConv
from gnnlib.layers._gated import GatedGCNConv as GatedGCNConv
from gnnlib.layers._magnet import ComplexReLU as ComplexReLU
from gnnlib.layers._magnet import MagNetConv as MagNetConv
