"""The one training loop: ``train(TrainConfig(data=DataConfig("KarateClub")))``."""

try:
    from ._config import DataConfig, TrainConfig
    from ._problem import NodeProblem, Problem
    from ._result import Epoch, Result, read_result
    from ._train import complete, train
except ModuleNotFoundError as error:
    raise ImportError(
        f"gnnlib.training needs {error.name}, which is not installed: pip install gnnlib[train]"
    ) from error

__all__ = [
    "DataConfig",
    "Epoch",
    "NodeProblem",
    "Problem",
    "Result",
    "TrainConfig",
    "complete",
    "read_result",
    "train",
]
