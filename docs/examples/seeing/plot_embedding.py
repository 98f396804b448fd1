"""
Representations of hidden layers
================================

Each hidden layer computes a new representation of the rows, ever closer to the targets. `BackpropEmbedding` returns it:
for a plot, or as features for another model in a pipeline.
"""

# %%
# Handwritten digits, 64 pixels each, pass through a network whose last hidden layer has two units: the output layer
# only sees a point in the plane.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropEmbedding

# The warning says that training did not converge in so few epochs, which does not matter here.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
network = BackpropClassifier(
    (64, 2),
    activation=["relu", "softsign"],
    normalization="batch",
    batch_size=50,
    learning_rate="cosine",
    learning_rate_init=0.02,
    max_iter=150,
    n_iter_no_change=np.inf,
    random_state=0,
)
network.fit(X_train, y_train)
print(f"accuracy of the network, through two numbers: {network.score(X_test, y_test):.3f}")

pictures = {
    "first two principal components": PCA(2).fit(X_train),
    "hidden layer of two units": BackpropEmbedding(FrozenEstimator(network)).fit(X_train, y_train),
}
fig, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for ax, (title, transformer) in zip(axes, pictures.items(), strict=True):
    points = transformer.transform(X_test)
    colors = ax.scatter(*points.T, c=y_test, cmap="tab10", s=12, vmin=-0.5, vmax=9.5)
    ax.set(title=f"Test images, {title}")
    neighbours = KNeighborsClassifier().fit(transformer.transform(X_train), y_train)
    print(f"{title}: accuracy of nearest neighbours {neighbours.score(points, y_test):.3f}")
fig.colorbar(colors, ax=axes, ticks=range(10), label="digit")
plt.show()

# %%
# The principal components are the directions in which the images vary most, regardless of the classes. The hidden layer
# was trained to separate the digits.
#
# In a pipeline, a new network is fitted on each training fold, and the next step gets the activations of its hidden
# layer. Nearest neighbours benefit a little: by themselves they cannot know which columns matter.

problems = {"wine": load_wine, "breast cancer": load_breast_cancer}
folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=4, random_state=0)
for name, load in problems.items():
    X, y = load(return_X_y=True)
    embedding = BackpropEmbedding(BackpropClassifier((16,), learning_rate_init=0.01, random_state=0))
    plain = cross_val_score(make_pipeline(StandardScaler(), KNeighborsClassifier()), X, y, cv=folds)
    learned = cross_val_score(make_pipeline(StandardScaler(), embedding, KNeighborsClassifier()), X, y, cv=folds)
    print(f"{name:13}: accuracy {plain.mean():.3f} with the columns, {learned.mean():.3f} with the hidden layer")
