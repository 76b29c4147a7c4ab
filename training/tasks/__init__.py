"""The tasks: which outputs count, their loss, and their scores. They know no file and no command."""

from training.config import Recipe
from training.data.dataset import DataSet
from training.tasks.classes import Classification, Labelling, Language
from training.tasks.forecast import Forecasting
from training.tasks.labels import MultiLabel
from training.tasks.regress import Regression
from training.tasks.task import Scores, Task

__all__ = ["Scores", "Task", "of"]


def of(data: DataSet, recipe: Recipe | None = None) -> Task:
    """The task of a data set; the recipe decides how its loss weighs, and None is enough to score."""
    if data.task == "regress":
        return Regression(data.labels, is_whole=data.is_whole, quantiles=data.quantiles)
    if data.forecast is not None:
        return Forecasting(data.labels, data.forecast)
    if data.task == "multilabel":
        balance, smoothing = (recipe.balance, recipe.label_smoothing) if recipe else (False, 0.0)
        return MultiLabel(data.labels, is_whole=data.is_whole, balance=balance, smoothing=smoothing)
    kind = {"classify": Classification, "label": Labelling, "language": Language}[data.task]
    return kind(balance=recipe.balance, smoothing=recipe.label_smoothing) if recipe else kind()
