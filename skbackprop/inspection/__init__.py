"""Tools to inspect estimators and their settings."""

from skbackprop.inspection._history import GradientFlowDisplay, LossCurveDisplay
from skbackprop.inspection._input_gradient import InputGradientDisplay, input_gradient
from skbackprop.inspection._learning_rate import LearningRateDisplay, learning_rate_range_test
from skbackprop.inspection._saliency_grid import SaliencyGridDisplay
from skbackprop.inspection._weights import WeightsDisplay

__all__ = [
    "GradientFlowDisplay",
    "InputGradientDisplay",
    "LearningRateDisplay",
    "LossCurveDisplay",
    "SaliencyGridDisplay",
    "WeightsDisplay",
    "input_gradient",
    "learning_rate_range_test",
]
