"""
Diagnosing a network that does not learn
========================================

A deep network with logistic units is no better than guessing. The plots of :mod:`skbackprop.inspection
<skbackprop.inspection.GradientFlowDisplay>` show the reason, and whether a remedy helps.
"""

# %%
# Six hidden layers on handwritten digits. When training ends, a warning says what is wrong and what to change. This
# example catches and prints it; normally it is shown automatically.

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
# The norm of each layer's gradient, after each epoch: the layers near the inputs (dark) get less than a thousandth of
# the gradient of the last layer. No unit is saturated; the derivative of the logistic function, at most 1/4 in each
# layer, is enough to explain it.

GradientFlowDisplay.from_estimator(stuck, name="logistic")
plt.show()

# %%
# ReLU has derivative 1 for positive inputs. With a weight initialization made for ReLU, the gradients of all layers
# have similar norms. Some units are constant: they are zero for all rows of a mini-batch, as is usual for ReLU. It
# would be a bad sign if most units of a layer were.

cured = BackpropClassifier(activation="relu", weight_init="he_normal", **settings)
cured.fit(X_train, y_train)
print(f"accuracy {cured.score(X_test, y_test):.2f}")

GradientFlowDisplay.from_estimator(cured, name="relu, he_normal")
plt.show()

# %%
# The loss curves side by side.

fig, ax = plt.subplots(layout="constrained")
LossCurveDisplay.from_estimator(stuck, name="logistic", ax=ax)
LossCurveDisplay.from_estimator(cured, name="relu, he_normal", ax=ax)
plt.show()

# %%
# Which pixels does the repaired network use? The gradient of its output with respect to the inputs tells how much each
# pixel matters: for the class of a three, on average and for one image.

fig, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
threes = X_test[y_test == 3]
left.imshow(threes[0].reshape(8, 8), cmap="gray_r")
left.set(title="a three", xticks=[], yticks=[])
for ax, rows, name in ((middle, threes[:1], "its gradient"), (right, threes, "all threes")):
    InputGradientDisplay.from_estimator(cured, rows, target=3, image_shape=(8, 8), name=name, ax=ax)
plt.show()
