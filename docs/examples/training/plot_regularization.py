"""
Dropout, penalties, weight averaging, normalization
===================================================

Regularization keeps a network from memorizing its training data, and other parameters stabilize the training. Each
panel compares networks that differ in one parameter. For `alpha` and early stopping see
:ref:`sphx_glr_auto_examples_training_plot_overfitting.py`.
"""

# %%
# *Dropout and max-norm.* Three hundred images of digits, every fifth with a random label, and a network large enough to
# memorize all labels, including the wrong ones. `dropout` zeroes a random fraction of the units in each update, so that
# no unit can rely on another. `max_norm` limits the norm of the weights into each unit.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.exceptions import TrainingWarning

# The warnings say that training did not converge in so few epochs, and that gradients vanish in a deep network: both
# are intended here.
warnings.simplefilter("ignore", TrainingWarning)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=300, stratify=y, random_state=0)
rng = np.random.default_rng(0)
y_noisy = np.where(rng.random(300) < 0.2, rng.integers(0, 10, 300), y_train)
choices = {
    "nothing": {},
    "max_norm=0.7": {"max_norm": 0.7},
    "max_norm=0.4": {"max_norm": 0.4},
    "dropout=0.5": {"dropout": 0.5},
    "dropout=(0.2, 0.5, 0.5)": {"dropout": (0.2, 0.5, 0.5)},
}
fig, ax = plt.subplots(layout="constrained")
for label, settings in choices.items():
    model = BackpropClassifier(
        (200, 200),
        batch_size=20,
        learning_rate_init=0.005,
        max_iter=60,
        # Computes the loss on test data after each epoch, for the plot.
        early_stopping=True,
        scoring="loss",
        n_iter_no_change=np.inf,
        random_state=0,
        **settings,
    )
    curve = model.fit(X_train, y_noisy, X_val=X_test, y_val=y_test).validation_loss_curve_
    print(f"{label:23}: loss on test data {min(curve):.2f} at its lowest, {curve[-1]:.2f} in the last epoch")
    ax.plot(range(1, len(curve) + 1), curve, label=label)
ax.set(xlabel="epoch", ylabel="loss on test data", title="Digits with wrong labels, two hidden layers of 200 units")
ax.legend()
plt.show()

# %%
# Without either, the loss rises again while the network learns the wrong labels. `max_norm` limits the rise, but its
# lowest loss is higher. Dropout of half of the hidden units lowers both; additional dropout of the inputs is too much
# for 64 pixels here.
#
# *L1 and L2.* The L2 penalty `alpha` shrinks all weights. With `l1_ratio`, an L1 penalty replaces it, and drives
# unneeded weights to nearly zero: here most of the weights, and all those of the pixels that hardly differ from image
# to image.

X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for ax, (alpha, l1_ratio) in zip((middle, right), ((3.0, 0.0), (0.5, 1.0)), strict=True):
    model = BackpropClassifier(
        (30,),
        alpha=alpha,
        l1_ratio=l1_ratio,
        learning_rate_init=0.003,
        max_iter=150,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    sizes = np.abs(model.fit(X_train, y_train).coefs_[0])
    label = f"alpha={alpha}, l1_ratio={l1_ratio}"
    print(
        f"{label}: accuracy {model.score(X_test, y_test):.3f}, {np.mean(sizes < 0.01):.0%} of the first layer's weights below 0.01"
    )
    left.hist(np.log10(sizes.ravel()), np.linspace(-6, 0.5, 40), alpha=0.6, label=label)
    image = ax.imshow(sizes.max(axis=1).reshape(8, 8), cmap="gray_r", vmin=0)
    ax.set(title=f"largest weight of each pixel\n{label}", xticks=[], yticks=[])
    fig.colorbar(image, ax=ax)
left.set(xlabel="logarithm of the weight's size, base 10", ylabel="weights of the first layer")
left.legend(loc="upper left", fontsize=8)
plt.show()

# %%
# *Weight averaging.* With small batches and a learning rate that stays large, weights move around the minimum. Their
# exponential moving average, over about the last ten, hundred or thousand updates, stays close to it. An average over
# too many updates still contains the initial weights.

X_diabetes, y_diabetes = load_diabetes(return_X_y=True)
X_train_d, X_test_d, y_train_d, y_test_d = train_test_split(scale(X_diabetes), y_diabetes, random_state=0)
fig, ax = plt.subplots(layout="constrained")
for averaging in (None, 0.9, 0.99, 0.999):
    model = BackpropRegressor(
        hidden_layer_sizes=(20,),
        solver="sgd",
        momentum=0.0,
        alpha=1.0,
        batch_size=4,
        learning_rate_init=0.1,
        max_iter=40,
        averaging=averaging,
        standardize_target=True,
        early_stopping=True,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    scores = model.fit(X_train_d, y_train_d, X_val=X_test_d, y_val=y_test_d).validation_scores_
    print(
        f"averaging={averaging!s:5}: R^2 on test data {min(scores[-20:]):.2f} to {max(scores[-20:]):.2f} in the last 20 epochs"
    )
    ax.plot(range(1, len(scores) + 1), scores, label=f"averaging={averaging}")
ax.set(xlabel="epoch", ylabel="R^2 on test data", ylim=(0, 0.45), title="Diabetes, batches of four")
ax.legend(loc="lower right")
plt.show()

# %%
# *Gradient clipping.* If the gradient jumps, `clip_norm` and `clip_value` shorten the step. Here are four networks for
# each setting, with a learning rate that is too large without clipping:

for settings in ({}, {"clip_norm": 1.0}, {"clip_value": 0.01}):
    scores = []
    for seed in range(4):
        model = BackpropClassifier(
            (64, 64),
            solver="sgd",
            learning_rate_init=0.3,
            batch_size=32,
            max_iter=20,
            n_iter_no_change=np.inf,
            random_state=seed,
            **settings,
        )
        scores.append(model.fit(X_train, y_train).score(X_test, y_test))
    print(f"{settings!s:20}: accuracy", ", ".join(f"{score:.2f}" for score in scores))

# %%
# *Normalization* keeps the pre-activations of deep layers in the range where the derivative of the activation function
# is not close to zero. Eight hidden layers of logistic units do not learn at all without it: see
# :ref:`sphx_glr_auto_examples_seeing_plot_vanishing_gradients.py`.

fig, ax = plt.subplots(layout="constrained")
for normalization in (None, "layer", "batch"):
    model = BackpropClassifier(
        (32,) * 8, activation="logistic", normalization=normalization, batch_size=50, max_iter=30, random_state=0
    )
    model.set_params(n_iter_no_change=np.inf).fit(X_train, y_train)
    print(f"normalization={normalization!r:7}: accuracy {model.score(X_test, y_test):.3f}")
    ax.plot(range(1, model.n_iter_ + 1), model.loss_curve_, label=f"normalization={normalization!r}")
ax.set(xlabel="epoch", ylabel="training loss", title="Digits, eight hidden layers of 32 logistic units")
ax.legend()
plt.show()
