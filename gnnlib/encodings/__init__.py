"""Positional and structural encodings: PyG transforms that add what a graph's edges imply."""

from gnnlib.encodings._k_hop import AddKHop as AddKHop
from gnnlib.encodings._magnetic import AddMagneticLaplacianPE as AddMagneticLaplacianPE
from gnnlib.encodings._magnetic_encoder import MagneticEncoder as MagneticEncoder
from gnnlib.encodings._random_walk import AddDirectedRandomWalkPE as AddDirectedRandomWalkPE
