"""Draws figures, saves them as PNG, and returns them. Knows nothing of the origin of the numbers."""

from training.figures.base import BLUE, GREY, MANY, ORANGE, ROWS
from training.figures.explained import draw_forecast, draw_inside, draw_outputs, draw_saliency
from training.figures.lags import draw_adding, draw_lags
from training.figures.results import draw_forecasts, draw_reliability, draw_residuals
from training.figures.runs import (
    draw_compressed,
    draw_confusion,
    draw_learning_curves,
    draw_scores,
    draw_sweep,
)

__all__ = [
    "BLUE",
    "GREY",
    "MANY",
    "ORANGE",
    "ROWS",
    "draw_adding",
    "draw_compressed",
    "draw_confusion",
    "draw_forecast",
    "draw_forecasts",
    "draw_inside",
    "draw_lags",
    "draw_learning_curves",
    "draw_outputs",
    "draw_reliability",
    "draw_residuals",
    "draw_saliency",
    "draw_scores",
    "draw_sweep",
]
