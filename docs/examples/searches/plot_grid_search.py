"""
Grid search over a pipeline
===========================

A network needs features of similar scale, so the scaler belongs in the pipeline, where it is fitted on each training
fold only. The grid is over the strength of the L2 penalty and the size of the hidden layer.
"""

# %%
# The data: 569 tumours with 30 features each, malignant or benign.

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import RocCurveDisplay
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# Early stopping sets aside a part of each training fold and keeps the weights of the best validation score.

model = make_pipeline(
    StandardScaler(),
    BackpropClassifier(learning_rate_init=0.01, early_stopping=True, random_state=0),
)
grid = {
    "backpropclassifier__hidden_layer_sizes": [(), (10,), (50,)],
    "backpropclassifier__alpha": [1e-4, 1e-1, 10.0],
}
search = GridSearchCV(model, grid, scoring="roc_auc", cv=5).fit(X_train, y_train)
for name, value in search.best_params_.items():
    print(f"{name} = {value}")
print(f"area under the ROC curve: {search.best_score_:.3f} in cross-validation, ", end="")
print(f"{search.score(X_test, y_test):.3f} on test data")

# %%
# The empty tuple means no hidden layer: logistic regression, trained by the same code.

fig, ax = plt.subplots(layout="constrained")
RocCurveDisplay.from_estimator(search, X_test, y_test, ax=ax, name="best of the grid")
ax.set_title("Breast cancer, test data")
plt.show()
