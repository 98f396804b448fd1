"""Train the candidates of a search on the workers of a Dask cluster."""

import joblib
from dask.distributed import Client
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skbackprop import BackpropClassifier

if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    network = BackpropClassifier((30,), random_state=0, n_jobs=1)
    search = GridSearchCV(network, {"alpha": [1e-4, 1e-2, 1.0], "activation": ["relu", "tanh"]}, cv=3)
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        with joblib.parallel_config("dask"):
            search.fit(X / 16, y)
        print("workers:", len(client.scheduler_info()["workers"]))
    here = GridSearchCV(network, search.param_grid, cv=3).fit(X / 16, y)
    print(
        "the same scores as here:", (here.cv_results_["mean_test_score"] == search.cv_results_["mean_test_score"]).all()
    )
