"""
Learning rates and schedules
============================

The learning rate is the first parameter to tune. A range test finds its order of magnitude in a second, and
`learning_rate` sets its schedule: a large rate finds a good region, a small one its lowest point.
"""

# %%
# The range test trains a copy of the network with a rate that rises from mini-batch to mini-batch. The rate at which
# the loss falls most steeply is a good initial rate. The rate at which the loss rises again is too large.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions import Cosine, Exponential, OneCycle, Polynomial, ReduceOnPlateau, StepDecay
from skbackprop.inspection import learning_rate_range_test

# The warnings say that training did not converge in so few epochs, and that gradients vanish if the rate is too large:
# both are intended here.
warnings.simplefilter("ignore", TrainingWarning)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, random_state=0)
network = BackpropClassifier((64,) * 4, activation="tanh", batch_size=100, max_iter=20, n_iter_no_change=np.inf)

display = learning_rate_range_test(network.set_params(random_state=0), X_train, y_train, min_rate=1e-5, random_state=0)
display.plot()
display.ax_.set(title="Range test: digits, adam, four hidden layers of 64 units")
plt.show()

# %%
# *Warm-up.* The first steps are the most dangerous: the gradients are large and point in one direction, and Adam's
# averages cover only few of them. With `warmup_epochs`, the rate rises linearly at first, and training tolerates a
# larger rate. Here are three networks for each rate; the first rate is about the suggested one:

for rate in (0.005, 0.05, 0.07):
    for warmup_epochs in (0, 5):
        schedule = Cosine(warmup_epochs=warmup_epochs)
        scores = []
        for seed in range(3):
            network.set_params(learning_rate=schedule, learning_rate_init=rate, random_state=seed)
            scores.append(network.fit(X_train, y_train).score(X_test, y_test))
        print(f"rate {rate:5}, warm-up {warmup_epochs} epochs: accuracy", ", ".join(f"{score:.3f}" for score in scores))

# %%
# At the suggested rate, warm-up gains nothing. At the largest rate, the networks without warm-up are spoiled in the
# first epochs, while those with warm-up are as good as the others.
#
# *Decay.* Mini-batches give noisy gradients, and a constant rate keeps the weights moving around the minimum. Here is a
# network for the diabetes data with small batches, and a rate that is too large for the end of training. `history_`
# holds the rate of the last step of each epoch. The test data are passed as `X_val` for their curve only; nothing is
# selected by them.

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(scale(X), y, random_state=0)
schedules = {
    "constant": "constant",
    "StepDecay": StepDecay(warmup_epochs=2, every=10),
    "Exponential": Exponential(warmup_epochs=2, factor=0.9),
    "Polynomial": Polynomial(warmup_epochs=2),
    "Cosine": Cosine(warmup_epochs=2),
    "Cosine with restarts": Cosine(warmup_epochs=2, restart_epochs=10),
    "OneCycle": OneCycle(),
    "ReduceOnPlateau": ReduceOnPlateau(warmup_epochs=2, factor=0.2),
}
fig, (upper, lower) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
for index, (label, schedule) in enumerate(schedules.items()):
    model = BackpropRegressor(
        hidden_layer_sizes=(20,),
        solver="sgd",
        momentum=0.0,
        alpha=1.0,
        batch_size=4,
        learning_rate=schedule,
        learning_rate_init=0.1,
        max_iter=42,
        # Training runs all epochs, but a schedule that waits for a plateau has to detect it.
        n_iter_no_change=3 if label == "ReduceOnPlateau" else np.inf,
        standardize_target=True,
        restore_best_weights=True,
        random_state=0,
    )
    model.fit(X_train, y_train, X_val=X_test, y_val=y_test)
    rates = [epoch["learning_rate"] for epoch in model.history_]
    scores = model.validation_scores_
    print(f"{label:20}: R^2 in the last ten epochs {min(scores[-10:]):.3f} to {max(scores[-10:]):.3f}")
    style = {"label": label, "color": "black" if index == 0 else f"C{index - 1}"}
    upper.plot(range(1, len(rates) + 1), rates, **style)
    lower.plot(range(1, len(scores) + 1), scores, **style)
upper.set(ylabel="learning rate")
upper.legend(fontsize=8, ncols=2)
lower.set(xlabel="epoch", ylabel="R^2 on test data", ylim=(0.0, 0.45))
plt.show()

# %%
# All schedules that lower the rate reach about the same loss, while the loss with the constant rate does not settle.
# Restarts begin again with the large rate, and should be stopped at the end of a cycle. Which one to choose? `Cosine`
# or `OneCycle` if the number of epochs is given, `ReduceOnPlateau` if training should find its own end.
