"""
Seeing why a network does not learn
===================================

A deep network with logistic units stays at the accuracy of guessing. The plots of
:mod:`skbackprop.inspection <skbackprop.inspection.GradientFlowDisplay>` show the reason, and whether a remedy helps.
"""

# %%
# Six hidden layers on handwritten digits. When training ends, a warning says what is wrong and what to change. It is shown here by hand; otherwise
# it appears on its own.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skbackprop import BackpropClassifier
from skbackprop.exceptions import TrainingWarning
from skbackprop.inspection import GradientFlowDisplay, InputGradientDisplay, LossCurveDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, random_state=0)

settings = {"hidden_layer_sizes": (32,) * 6, "max_iter": 30, "n_iter_no_change": np.inf, "random_state": 0}
stuck = BackpropClassifier(activation="logistic", **settings)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", TrainingWarning)
    stuck.fit(X_train, y_train)
for warning in caught:
    print(warning.message)
print(f"accuracy {stuck.score(X_test, y_test):.2f}")

# %%
# The norm of the gradient of each layer, after each epoch: the layers at the inputs, dark, get less than a thousandth of what the last layer gets. No unit is
# saturated; the slope of the logistic function, at most 1/4 in each layer, is reason enough.

GradientFlowDisplay.from_estimator(stuck, name="logistic")
plt.show()

# %%
# The rectifier has slope 1 for positive inputs. With weights drawn for it, the gradients of all layers are of the same size. Some units are constant:
# they are zero for all rows of a mini-batch, as is usual for rectifiers. It would be a bad sign if most of a layer's units were.

cured = BackpropClassifier(activation="relu", weight_init="he_normal", **settings)
cured.fit(X_train, y_train)
print(f"accuracy {cured.score(X_test, y_test):.2f}")

GradientFlowDisplay.from_estimator(cured, name="relu, he_normal")
plt.show()

# %%
# The losses side by side.

fig, ax = plt.subplots(layout="constrained")
LossCurveDisplay.from_estimator(stuck, name="logistic", ax=ax)
LossCurveDisplay.from_estimator(cured, name="relu, he_normal", ax=ax)
plt.show()

# %%
# What has the cured network learned to look at? The gradient of its output with respect to the inputs tells for each pixel how much it matters: for the
# class of a three on average, and for one of them.

fig, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
threes = X_test[y_test == 3]
left.imshow(threes[0].reshape(8, 8), cmap="gray_r")
left.set(title="a three", xticks=[], yticks=[])
for ax, rows, name in ((middle, threes[:1], "its gradient"), (right, threes, "all threes")):
    InputGradientDisplay.from_estimator(cured, rows, target=3, image_shape=(8, 8), name=name, ax=ax)
plt.show()
