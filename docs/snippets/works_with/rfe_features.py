"""Select features: `importance_getter` tells RFE how much a network uses each."""

import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.feature_selection import RFE
from sklearn.preprocessing import scale

from skbackprop import BackpropRegressor


def importance(network):
    """Return the norm of the weights of each feature."""
    return np.linalg.norm(network.coefs_[0], axis=1)


X, y = make_friedman1(1000, n_features=10, random_state=0)  # of which the first five matter
network = BackpropRegressor(hidden_layer_sizes=(32,), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0)
selected = RFE(network, n_features_to_select=5, importance_getter=importance).fit(scale(X), scale(y))
print("selected:", np.flatnonzero(selected.support_).tolist())
