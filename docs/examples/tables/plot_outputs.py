"""
Several outputs from one network
================================

A classifier with several columns of classes, or several labels per row, predicts them from the same hidden layers. A
regressor with several targets needs them to be of the same scale, which `standardize_target` ensures.
"""

# %%
# *Two columns of classes.* Images of two digits side by side, as on a number plate. `y` has a column for the first
# digit and one for the second; each has a softmax of its own. With one column of a hundred classes, each class would
# have only a few images.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import KFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.exceptions import TrainingWarning

# The warning says that training did not converge in so few epochs, which does not matter here.

images, digits = load_digits(return_X_y=True)
rng = np.random.default_rng(0)


def pairs(rows, n):
    """Images of n pairs of digits, and the two digits of each."""
    chosen = rng.choice(rows, (n, 2))
    sides = images[chosen].reshape(n, 2, 8, 8)
    return np.concatenate([sides[:, 0], sides[:, 1]], axis=2).reshape(n, -1) / 16, digits[chosen]


rows, rows_test = train_test_split(np.arange(len(images)), random_state=0)
(X, y), (X_test, y_test) = pairs(rows, 3000), pairs(rows_test, 1000)

settings = {
    "hidden_layer_sizes": (100,),
    "max_iter": 40,
    "n_iter_no_change": np.inf,
    "batch_size": 50,
    "random_state": 0,
}
two_columns = BackpropClassifier(**settings).fit(X, y)
hundred_classes = BackpropClassifier(**settings).fit(X, 10 * y[:, 0] + y[:, 1])
print(f"two columns of ten classes   : both digits right in {two_columns.score(X_test, y_test):.3f} of the images")
print(f"one column of hundred classes: {hundred_classes.score(X_test, 10 * y_test[:, 0] + y_test[:, 1]):.3f}")

left, right = two_columns.predict_proba(X_test)
predicted = two_columns.predict(X_test)
sure = left.max(axis=1) * right.max(axis=1)
fig, axes = plt.subplots(2, 4, figsize=(9, 3.6), layout="constrained")
for ax, row in zip(axes.flat, np.argsort(sure)[[0, 1, 2, 3, -4, -3, -2, -1]], strict=True):
    ax.imshow(X_test[row].reshape(8, 16), cmap="gray_r")
    ax.set(title=f"{predicted[row][0]}{predicted[row][1]}, probability {sure[row]:.2f}", xticks=[], yticks=[])
fig.suptitle("The least and the most certain")
plt.show()

# %%
# *Several labels.* Which digits are in the image, wherever they stand? An indicator matrix has a column for each digit,
# and each column has a logistic output.

labels = MultiLabelBinarizer()
multilabel = BackpropClassifier(**settings).fit(X, labels.fit_transform(y))
contained = labels.inverse_transform(multilabel.predict(X_test))
for row in range(4):
    print(f"image of {y_test[row]}: contains", *contained[row])
print(f"all labels right in {multilabel.score(X_test, labels.transform(y_test)):.3f} of the images")

# %%
# *Several targets.* From age, sex and six blood measurements of 442 patients, predict the progression of diabetes, the
# body mass index and the blood pressure. Their scales differ, and the largest errors dominate the loss: without
# `standardize_target`, the network learns the progression and neglects the other two.

X, progress = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
Y = X[["bmi", "bp"]].assign(progress=progress)
X = X.drop(columns=["bmi", "bp"])
folds = KFold(5, shuffle=True, random_state=0)
errors = {}
warnings.simplefilter("ignore", TrainingWarning)  # it advises standardize_target=True, which is what is compared here
for standardize_target in (False, True):
    label = f"standardize_target={standardize_target}"
    network = BackpropRegressor(
        hidden_layer_sizes=(20,),
        standardize_target=standardize_target,
        alpha=3.0,
        batch_size=32,
        learning_rate_init=0.01,
        max_iter=50,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    predictions = cross_val_predict(make_pipeline(StandardScaler(), network), X, Y, cv=folds)
    errors[label] = np.sqrt(np.mean((Y - predictions) ** 2, axis=0)) / Y.std(ddof=0)
    print(f"{label}:", ", ".join(f"{name} {error:.2f}" for name, error in errors[label].items()))

fig, ax = plt.subplots(layout="constrained")
for shift, (label, error) in zip((-0.2, 0.2), errors.items(), strict=True):
    ax.bar(np.arange(3) + shift, error, width=0.4, label=label)
ax.axhline(1, color="gray", linestyle=":", label="predicting the mean")
ax.set_xticks(range(3), Y.columns)
ax.set(ylabel="root mean square error in standard deviations")
ax.legend()
plt.show()
