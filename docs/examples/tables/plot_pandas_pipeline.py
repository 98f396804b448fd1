"""
From a DataFrame to a tuned model
=================================

The input is a DataFrame with columns of several kinds. Each kind is preprocessed in its own way, and the network is
tuned together with its preprocessing: the whole model is one pipeline, and one object to save.
"""

# %%
# The data: 442 patients with diabetes, in the original units. `sex` is a category with two codes, and the age is
# binned. Some measurements are removed here, to have missing values.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackprop import BackpropRegressor

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X["sex"] = X["sex"].map({1.0: "code 1", 2.0: "code 2"}).astype("category")
X["age"] = pd.cut(X["age"], [0, 40, 60, 100], labels=["up to 40", "41 to 60", "over 60"])
X["bp"] = X["bp"].mask(np.random.default_rng(0).random(len(X)) < 0.1)
X.head()

# %%

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Numbers are imputed and scaled, categories are one-hot encoded. The target is scaled as well, and predictions are
# scaled back, because a network learns best if the targets are of the order of one.

columns = make_column_transformer(
    (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), make_column_selector(dtype_include="number")),
    (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    verbose_feature_names_out=False,
).set_output(transform="pandas")
network = BackpropRegressor(
    hidden_layer_sizes=(20,), batch_size=32, learning_rate_init=0.01, early_stopping=True, random_state=0
)
model = Pipeline(
    [
        ("columns", columns),
        ("network", TransformedTargetRegressor(network, transformer=StandardScaler())),
    ]
)

# %%
# `cross_val_score` trains and scores the pipeline five times. The scaler, the imputer and the encoder are fitted on
# each training fold only.

scores = cross_val_score(model, X_train, y_train, cv=5)
print(f"R^2 before tuning: {scores.mean():.3f} +- {scores.std():.3f}")

# %%
# `GridSearchCV` can set any parameter by the names of the steps: here the network's layers and penalty, and the
# imputer's strategy.

grid = {
    "network__regressor__hidden_layer_sizes": [(), (20,)],
    "network__regressor__alpha": [1e-4, 1.0, 10.0],
    "columns__pipeline__simpleimputer__strategy": ["median", "mean"],
}
search = GridSearchCV(model, grid, cv=5).fit(X_train, y_train)
for name, value in search.best_params_.items():
    print(f"{name} = {value!r}")
print(f"R^2: {search.best_score_:.3f} in cross-validation, {search.score(X_test, y_test):.3f} on test data")

table = pd.DataFrame(search.cv_results_).sort_values("rank_test_score")
table = table[[f"param_{name}" for name in grid] + ["mean_test_score", "std_test_score"]]
table.columns = [name.split("__")[-1] for name in table.columns]
table.head()

# %%
# The fitted network knows the names of its input columns.

print(search.best_estimator_["network"].regressor_.feature_names_in_)

# %%
# Predictions for patients who were not in the training data of the model. Predictions on the diagonal are correct. The
# points scatter widely around it, and high values are predicted too low: these columns explain about half of the
# variance, and the exact share depends on the test patients.

predictions = cross_val_predict(search.best_estimator_, X, y, cv=5)
print(f"R^2 of all predictions: {r2_score(y, predictions):.3f}")
fig, ax = plt.subplots(layout="constrained")
ax.scatter(y, predictions, s=10)
ax.axline((150, 150), slope=1, color="gray", linestyle=":")
ax.set(xlabel="progress of the disease", ylabel="prediction", title="Diabetes, five folds")
plt.show()
