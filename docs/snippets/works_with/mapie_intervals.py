"""Intervals that hold a given share of new targets: MAPIE corrects the quantiles of networks."""

from mapie.metrics.regression import regression_coverage_score
from mapie.regression import ConformalizedQuantileRegressor
from sklearn.datasets import make_friedman1
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropRegressor
from skbackprop.functions import Quantile

X, y = make_friedman1(3000, noise=2.0, random_state=0)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=1000, random_state=0)
X_conformalize, X_test, y_conformalize, y_test = train_test_split(X_rest, y_rest, train_size=1000, random_state=0)

# MAPIE takes them in this order: lower, upper, median.
models = [
    make_pipeline(
        StandardScaler(),
        BackpropRegressor(Quantile(quantile), (32,), standardize_target=True, alpha=0.1, random_state=0),
    ).fit(X_train, y_train)
    for quantile in (0.05, 0.95, 0.5)
]
conformal = ConformalizedQuantileRegressor(models, confidence_level=0.9, prefit=True)
conformal.conformalize(X_conformalize, y_conformalize)
_, intervals = conformal.predict_interval(X_test)
low, high = models[0].predict(X_test), models[1].predict(X_test)
print(f"share of targets within the networks' quantiles: {((low <= y_test) & (y_test <= high)).mean():.2f}")
print(f"within the corrected ones: {regression_coverage_score(y_test, intervals)[0]:.2f}")
