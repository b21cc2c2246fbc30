"""The papers' synthetic tasks, and loaders for the public data sets."""

from ._any_size import AnySize as AnySize
from ._directed_sbm import DirectedSBM as DirectedSBM
from ._directed_task import DirectedNeighborMean as DirectedNeighborMean
from ._directed_task import DirectedPreferentialAttachment as DirectedPreferentialAttachment
from ._extrapolation import MaxDegree as MaxDegree
from ._extrapolation import ShortestPath as ShortestPath
from ._load import load as load
from ._load import load_graphs as load_graphs
from ._load import names as names
from ._pna_multitask import PNAMultitask as PNAMultitask
from ._ring_transfer import RingTransfer as RingTransfer
from ._root_neighbors import RootNeighbors as RootNeighbors
from ._set_task import SecondMinimum as SecondMinimum
from ._set_task import SetTask as SetTask
from ._task import Task as Task
from ._tree_neighbors_match import TreeNeighborsMatch as TreeNeighborsMatch
from ._unique_signature import UniqueSignature as UniqueSignature
