"""
What units look for, and what a prediction depends on
=====================================================

The weights of the first layer have one number for each feature and unit; the gradient of the output has one for each
feature and row. For images, both are images.
"""

# %%
# Handwritten digits of 8 x 8 pixels. A penalty keeps the weights of pixels small that say nothing, which makes the images
# easier to read.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits, load_iris
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier
from skbackprop.inspection import SaliencyGridDisplay, WeightsDisplay

X, y = load_digits(return_X_y=True)
X = X / 16.0
model = BackpropClassifier((25,), alpha=1.0, learning_rate_init=0.01, random_state=0).fit(X, y)

# %%
# Each image is a unit: it grows with pixels where it is red and shrinks with those where it is blue. Many units respond
# to strokes and edges; the penalty leaves some without weights.

WeightsDisplay.from_estimator(model, image_shape=(8, 8), max_units=None)
plt.show()

# %%
# Six digits with the predicted class, and below them the pixels that its score depends on most.

SaliencyGridDisplay.from_estimator(model, X[:6], image_shape=(8, 8))
plt.show()

# %%
# On a table, both are tables of colours: here the weights of the features of flowers, and the gradient of the score of
# the class that is predicted for each of six flowers.

frame, species = load_iris(return_X_y=True, as_frame=True)
frame = StandardScaler().set_output(transform="pandas").fit_transform(frame)
model = BackpropClassifier((8,), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0).fit(frame, species)

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
WeightsDisplay.from_estimator(model, name="weights", ax=left)
SaliencyGridDisplay.from_estimator(model, frame[::25], ax=right)
right.set_title("gradients")
plt.show()
