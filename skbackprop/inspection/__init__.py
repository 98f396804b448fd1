"""Tools to look at estimators and their settings."""

from skbackprop.inspection._learning_rate import LearningRateDisplay, learning_rate_range_test

__all__ = ["LearningRateDisplay", "learning_rate_range_test"]
