"""Log a training to MLflow, register its model in an SQLite file, and load it again."""

import mlflow
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbackprop
from skbackprop.callbacks import EpochLogger
from skbackprop.model_selection import GridSearchCV

mlflow.set_tracking_uri("sqlite:///mlflow.db")
X, y = load_digits(return_X_y=True)
network = skbackprop.BackpropClassifier((30,), early_stopping=True, random_state=0)
model = make_pipeline(StandardScaler(), network)

with mlflow.start_run() as run:
    model[-1].set_callbacks(EpochLogger(mlflow.log_metrics))
    model.fit(X, y)
    model[-1].set_callbacks()  # none: they are not part of the model to store
    mlflow.log_params(model[-1].get_params())
    mlflow.sklearn.log_model(
        model,
        name="model",
        registered_model_name="digits",
        serialization_format="skops",
        skops_trusted_types=skbackprop.skops_trusted_types(),
        input_example=X[:2],
    )
logged = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
print("values of the loss:", len(logged), "in", model[-1].n_iter_, "epochs")

loaded = mlflow.sklearn.load_model("models:/digits/1")
print("loaded, the same predictions:", (loaded.predict_proba(X) == model.predict_proba(X)).all())

# MLflow logs what scikit-learn's own classes fit by itself: pipelines and searches, these too.
mlflow.sklearn.autolog(max_tuning_runs=3)
GridSearchCV(model, {"backpropclassifier__alpha": [1e-4, 1e-2, 1.0]}, cv=3).fit(X, y)
runs = mlflow.search_runs()
print("runs of the search:", len(runs) - 1, "of which its candidates:", runs["tags.mlflow.parentRunId"].notna().sum())
