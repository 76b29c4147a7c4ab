"""The tasks: what a network is asked, what its answer costs, and how good it is."""

from training.data.dataset import DataSet
from training.tasks.classes import Classify, EachStep, Language
from training.tasks.forecast import Foretell
from training.tasks.task import Scores, Task

__all__ = ["Scores", "Task", "of"]


def of(data: DataSet) -> Task:
    """The task that a data set is for."""
    if data.forecast is not None:
        return Foretell(data.labels, data.forecast)
    return {"classify": Classify, "label": EachStep, "language": Language}[data.task]()
