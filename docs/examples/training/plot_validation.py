"""
Validation: which rows, which score, which weights
==================================================

`early_stopping` scores each epoch on rows that are not trained on. How reliable the score is depends on these rows: a
random split is too optimistic if rows belong together. This example shows splitters, your own validation data in a
pipeline, scores, and the best weights without stopping.
"""

# %%
# The digits that scikit-learn includes were written by thirteen people, and are sorted by writer. No column holds the
# writer, but blocks of consecutive rows come close. Which accuracy can be expected for a new writer? Some blocks are
# set aside to answer this, in four different splits.

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, PredefinedSplit, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler, scale

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.inspection import LossCurveDisplay

# The warning says that training did not converge in so few epochs, which does not matter here.

X, y = load_digits(return_X_y=True)
writers = np.arange(len(X)) * 13 // len(X)
splitters = {
    "random rows": lambda seed: 0.25,
    "other writers": lambda seed: GroupShuffleSplit(1, test_size=0.25, random_state=seed),
}
for label, splitter in splitters.items():
    expected, true = [], []
    for seed, (known, new) in enumerate(GroupKFold(4).split(X, y, writers)):
        model = BackpropClassifier((50,), early_stopping=True, validation_fraction=splitter(seed), random_state=seed)
        # Only the splitter uses the groups.
        groups = writers[known] if label == "other writers" else None
        model.fit(X[known] / 16, y[known], groups=groups)
        expected.append(model.best_validation_score_)
        true.append(model.score(X[new] / 16, y[new]))
    print(f"{label:13}: accuracy {np.mean(expected):.3f} on validation rows, {np.mean(true):.3f} on new writers")

# %%
# The score of the random split is too high, because the network has seen each writer's hand in other rows. With writers
# kept together, the validation score is closer to the test score. For time-ordered rows, the last rows should be the
# validation rows. `PredefinedSplit` does that, with 0 for them and -1 for the others.

last = np.where(np.arange(len(X)) < 0.75 * len(X), -1, 0)
model = BackpropClassifier((50,), early_stopping=True, validation_fraction=PredefinedSplit(last), random_state=0)
model.fit(X / 16, y)
print(f"last quarter of the rows: accuracy {model.best_validation_score_:.3f}")

# %%
# *Your own validation data* are passed to `fit`. In a pipeline they have to go through the same steps as `X`, which is
# what `transform_input` is for. Without it, the network would be trained on scaled rows and validated on raw ones.
#
# `scoring` defines the best epoch. Accuracy counts rows, and takes few values: here it is at its best after a few
# epochs, while the validation loss still falls. The loss also shows when the network becomes overconfident in wrong
# predictions.

X, y = load_breast_cancer(return_X_y=True)
X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
X_train, X_val, y_train, y_val = train_test_split(X_rest, y_rest, test_size=0.3, stratify=y_rest, random_state=0)

fig, axes = plt.subplots(1, 3, figsize=(12, 4.5), layout="constrained")
for ax, scoring in zip(axes, (None, "loss", "roc_auc"), strict=True):
    with sklearn.config_context(enable_metadata_routing=True):
        network = BackpropClassifier(
            (100,),
            early_stopping=True,
            scoring=scoring,
            learning_rate_init=0.005,
            batch_size=32,
            n_iter_no_change=30,
            random_state=0,
        ).set_fit_request(X_val=True, y_val=True)
        model = Pipeline([("scale", StandardScaler()), ("network", network)], transform_input=["X_val"])
        model.fit(X_train, y_train, X_val=X_val, y_val=y_val)
    network = model[-1]
    print(
        f"scoring={scoring!r:9}: epoch {np.argmax(network.validation_scores_) + 1} of {network.n_iter_} is best, "
        f"accuracy on test data {model.score(X_test, y_test):.3f}"
    )
    LossCurveDisplay.from_estimator(network, ax=ax)
    ax.set(title=f"scoring={scoring!r}")
plt.show()

# %%
# *Without stopping.* `restore_best_weights` trains to the end and then restores the weights of the best epoch. That
# helps if the score jumps, as with a large learning rate and small batches, where the last epoch may be good or bad.
# Ten networks for the diabetes data:

X, y = load_diabetes(return_X_y=True)
X_rest, X_test, y_rest, y_test = train_test_split(scale(X), y, random_state=0)
X_train, X_val, y_train, y_val = train_test_split(X_rest, y_rest, random_state=0)
for restore in (False, True):
    scores = []
    for seed in range(10):
        model = BackpropRegressor(
            hidden_layer_sizes=(20,),
            solver="sgd",
            alpha=1.0,
            batch_size=4,
            learning_rate_init=0.02,
            max_iter=40,
            n_iter_no_change=np.inf,
            standardize_target=True,
            restore_best_weights=restore,
            random_state=seed,
        )
        # Validation data are refused if nothing would use them.
        validation = {"X_val": X_val, "y_val": y_val} if restore else {}
        scores.append(model.fit(X_train, y_train, **validation).score(X_test, y_test))
    print(
        f"restore_best_weights={restore!s:5}: R^2 on test data {min(scores):.2f} to {max(scores):.2f}, mean {np.mean(scores):.2f}"
    )
