"""Train the candidates of a search on the workers of a Ray cluster."""

import joblib
import ray
from ray.util.joblib import register_ray
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skbackprop import BackpropClassifier

X, y = load_digits(return_X_y=True)
network = BackpropClassifier((30,), random_state=0, n_jobs=1)
search = GridSearchCV(network, {"alpha": [1e-4, 1e-2, 1.0], "activation": ["relu", "tanh"]}, cv=3)

ray.init(num_cpus=2, include_dashboard=False)
register_ray()
with joblib.parallel_config("ray"):
    search.fit(X / 16, y)
ray.shutdown()

here = GridSearchCV(network, search.param_grid, cv=3).fit(X / 16, y)
print("the same scores as here:", (here.cv_results_["mean_test_score"] == search.cv_results_["mean_test_score"]).all())
