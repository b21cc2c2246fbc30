"""The papers' synthetic tasks, and loaders for the public data sets."""

from ._load import load as load
from ._load import names as names
from ._root_neighbors import RootNeighbors as RootNeighbors
from ._task import Task as Task
