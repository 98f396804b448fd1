"""
The first network of many tutorials, in one estimator
=====================================================

Many introductions to neural networks begin with the same model in Keras: 64 hidden units with ReLU, one output unit
with the sigmoid, binary cross-entropy, Adam with a learning rate of 0.001, ten epochs, batches of 32 rows:

.. code-block:: python

   model = keras.Sequential(
       [layers.Input((30,)), layers.Dense(64, activation="relu"), layers.Dense(1, activation="sigmoid")]
   )
   model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy", metrics=["accuracy"])
   model.fit(X_train, y_train, epochs=10, batch_size=32, validation_split=0.2)

Here it is as a scikit-learn estimator, which classifies tumours as malignant or benign.
"""

# %%
# Keras leaves scaling to the user. In a pipeline it is a step of the model, and the test data go through it, too.

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# The two classes in `y` determine the output unit, its sigmoid and the loss. `early_stopping` sets a fraction of the
# rows aside and scores them after each epoch, like Keras's `validation_split`; `n_iter_no_change` makes all ten epochs
# run. `alpha=0` turns off the L2 penalty, which Keras does not have by default.

network = BackpropClassifier(
    hidden_layer_sizes=(64,),
    activation="relu",
    solver="adam",
    learning_rate_init=1e-3,
    batch_size=32,
    max_iter=10,
    alpha=0,
    early_stopping=True,
    validation_fraction=0.2,
    n_iter_no_change=float("inf"),
    random_state=0,
)
model = make_pipeline(StandardScaler(), network)
model.fit(X_train, y_train)

for epoch, (loss, accuracy) in enumerate(zip(network.loss_curve_, network.validation_scores_, strict=True), start=1):
    print(f"epoch {epoch:2}: loss {loss:.3f}, validation accuracy {accuracy:.3f}")
print(f"accuracy on test data: {model.score(X_test, y_test):.3f}")

# %%
# The loss falls from epoch to epoch and has not converged after ten. The validation accuracy, with so few rows, moves
# in steps of about one percent. The estimator has the weights of the epoch with the best validation accuracy.

epochs = range(1, network.n_iter_ + 1)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.plot(epochs, network.loss_curve_, marker="o")
left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
right.plot(epochs, network.validation_scores_, marker="o", color="C1")
right.set(xlabel="epoch", ylabel="validation accuracy")
plt.show()

# %%
# Probabilities come from `predict_proba`, one column for each class.

print(model.predict_proba(X_test[:3]).round(3))
