"""
Weight initialization and fine-tuning
=====================================

Training moves from the initial weights to good weights nearby. `weight_init` draws the initial weights from a
distribution that suits the activation, or takes them from a network that has learned a related task. `frozen_layers`
keeps what that network has learned, and `output_bias="prior"` saves the first epochs of a problem with rare classes.
"""

# %%
# *Distributions.* They differ in the variance of the weights, which decides whether signals keep their scale on the way
# through a deep network. Here are twelve hidden layers with ReLU, and the root mean square of their activations before
# any training: the network is fitted with one step of a negligible learning rate.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropEmbedding

# The warning says that training did not converge in so few epochs, which does not matter here.

X, y = load_digits(return_X_y=True)
X_scaled = StandardScaler().fit_transform(X)
n_layers = 12
fig, ax = plt.subplots(layout="constrained")
for weight_init in ("auto", "lecun_normal", "glorot_normal", "orthogonal", "he_normal"):
    settings = {"hidden_layer_sizes": (50,) * n_layers, "weight_init": weight_init, "random_state": 0}
    untrained = BackpropClassifier(learning_rate_init=1e-12, max_iter=1, n_iter_no_change=np.inf, **settings).fit(
        X_scaled, y
    )
    outputs = [
        BackpropEmbedding(FrozenEstimator(untrained), layer=layer).fit(X_scaled, y).transform(X_scaled)
        for layer in range(n_layers)
    ]
    sizes = [np.sqrt(np.mean(layer**2)) for layer in outputs]
    trained = BackpropClassifier(max_iter=10, n_iter_no_change=np.inf, **settings).fit(X_scaled, y)
    print(f"{weight_init:13}: outputs of the last layer {sizes[-1]:.2g}, loss after ten epochs {trained.loss_:.2f}")
    ax.plot(range(1, n_layers + 1), sizes, marker="o", label=weight_init)
ax.set(xlabel="hidden layer", ylabel="root mean square of the outputs", yscale="log", title="Before training, relu")
ax.legend()
plt.show()

# %%
# `"he_normal"` is made for ReLU: half of the units output zero, which twice the variance compensates. With the others,
# the signal shrinks by about :math:`\sqrt{1/2}` from layer to layer.
#
# *Fine-tuning.* A network has learned the digits from 900 images. Then the scanner changes: its images are rotated by
# fifteen degrees. The network has not seen such images, and only few of them are labelled so far. `FrozenEstimator`
# keeps the source model fitted when the estimator around it is cloned, as in searches.

source = BackpropClassifier((100, 50), max_iter=60, n_iter_no_change=np.inf, random_state=0).fit(X[:900] / 16, y[:900])
askew = rotate(X[900:].reshape(-1, 8, 8) / 16, 15, axes=(1, 2), reshape=False, order=1)
X_askew, y_askew = askew.reshape(-1, 64), y[900:]
print(
    f"source: accuracy {source.score(X[900:] / 16, y_askew):.2f} on new images, {source.score(X_askew, y_askew):.2f} on images that are askew"
)

fig, axes = plt.subplots(1, 8, figsize=(8, 1.6), layout="constrained")
for ax, image in zip(
    axes, np.stack([X[900:904].reshape(-1, 8, 8), 16 * askew[:4]], axis=1).reshape(-1, 8, 8), strict=True
):
    ax.imshow(image, cmap="gray_r")
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# With twenty labelled images, a network trained from scratch is worse than the old one. Fine-tuning the old weights on
# the same images beats both. `frozen_layers` is for layers that should not change. The weights of the first layer see
# the pixels, and have to adapt to the rotation. Freezing the two layers after it costs nothing, while freezing the
# first two forgoes most of what could be learned.

n_rows = [20, 50, 100, 200, 400]
kinds = {
    "from scratch": {},
    "fine-tuned": {"weight_init": FrozenEstimator(source)},
    "fine-tuned, only the first layer": {"weight_init": FrozenEstimator(source), "frozen_layers": [1, 2]},
    "fine-tuned, only the last layer": {"weight_init": FrozenEstimator(source), "frozen_layers": [0, 1]},
}
fig, ax = plt.subplots(layout="constrained")
for label, settings in kinds.items():
    means = []
    for n in n_rows:
        scores = []
        for seed in range(4):
            X_few, X_test, y_few, y_test = train_test_split(
                X_askew, y_askew, train_size=n, stratify=y_askew, random_state=seed
            )
            model = BackpropClassifier(
                (100, 50), batch_size=10, max_iter=30, n_iter_no_change=np.inf, random_state=seed, **settings
            )
            scores.append(model.fit(X_few, y_few).score(X_test, y_test))
        means.append(np.mean(scores))
    print(f"{label:33}:", ", ".join(f"{score:.2f}" for score in means))
    ax.plot(n_rows, means, marker="o", label=label)
ax.axhline(source.score(X_askew, y_askew), color="gray", linestyle=":", label="source as it is")
ax.set(xlabel="labelled images that are askew", ylabel="accuracy on others", xscale="log", title="Means of four draws")
ax.set_xticks(n_rows, n_rows)
ax.minorticks_off()
ax.legend()
plt.show()

# %%
# *A rare class.* One image in ten is a nine. Without this knowledge, a network spends its first steps on learning it;
# with ``output_bias="prior"`` it starts from the class frequencies.

nine = y == 9
fig, ax = plt.subplots(layout="constrained")
for output_bias in ("auto", "prior"):
    model = BackpropClassifier(
        (50,),
        solver="sgd",
        learning_rate_init=0.005,
        output_bias=output_bias,
        max_iter=25,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    model.fit(X / 16, nine)
    print(f"output_bias={output_bias!r:7}: loss of the first epoch {model.loss_curve_[0]:.3f}")
    ax.plot(range(1, 26), model.loss_curve_, label=f"output_bias={output_bias!r}")
share = nine.mean()
ax.axhline(
    -share * np.log(share) - (1 - share) * np.log(1 - share),
    color="gray",
    linestyle=":",
    label="the classes' shares alone",
)
ax.set(xlabel="epoch", ylabel="training loss", title="Nine or not")
ax.legend()
plt.show()
