"""The tasks: which outputs count, their loss, and their scores. They know no file and no command."""

from training.data.dataset import DataSet
from training.tasks.classes import Classification, Labelling, Language
from training.tasks.forecast import Forecasting
from training.tasks.task import Scores, Task

__all__ = ["Scores", "Task", "of"]


def of(data: DataSet) -> Task:
    """The task of a data set."""
    if data.forecast is not None:
        return Forecasting(data.labels, data.forecast)
    return {"classify": Classification, "label": Labelling, "language": Language}[data.task]()
