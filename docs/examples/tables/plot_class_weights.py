"""
Imbalanced classes and weights
==============================

A classifier that is trained on few rows of one class and many of another tends to predict the second. `class_weight`
sets how much each class counts, `sample_weight` how much each row counts.
"""

# %%
# The data: 442 patients with diabetes. The task is to detect fast disease progression, above 240, from measurements of
# the year before.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.metrics import (
    PrecisionRecallDisplay,
    accuracy_score,
    balanced_accuracy_score,
    precision_score,
    recall_score,
)
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier

# The warning says that training did not converge in so few epochs, which does not matter here.

X, y = load_diabetes(return_X_y=True)
fast = y > 240
print(f"{fast.sum()} of {len(fast)} patients")

# %%
# `"balanced"` gives both classes the same total weight; a dict gives any weights. Each patient is predicted by a
# network that was trained on others. Precision is the fraction of the detected patients that are correct, recall the
# fraction of the patients with fast progression that are detected.

folds = StratifiedKFold(5, shuffle=True, random_state=0)
choices = {
    "None": {"class_weight": None},
    "{True: 3}": {"class_weight": {True: 3}},
    "'balanced'": {"class_weight": "balanced"},
}
probabilities = {}
for label, settings in choices.items():
    model = make_pipeline(
        StandardScaler(),
        BackpropClassifier(
            (20,), alpha=3.0, batch_size=32, max_iter=50, n_iter_no_change=np.inf, random_state=0, **settings
        ),
    )
    probabilities[label] = cross_val_predict(model, X, fast, cv=folds, method="predict_proba")[:, 1]
    found = probabilities[label] > 0.5
    print(
        f"class_weight={label:10}: accuracy {accuracy_score(fast, found):.2f}, balanced {balanced_accuracy_score(fast, found):.2f}, "
        f"precision {precision_score(fast, found):.2f}, recall {recall_score(fast, found):.2f}"
    )

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
bins = np.linspace(0, 1, 26)
for label in ("None", "'balanced'"):
    left.hist(probabilities[label][fast], bins, alpha=0.6, label=f"fast, class_weight={label}")
left.set(xlabel="predicted probability of a fast progress", ylabel="patients with a fast progress")
left.axvline(0.5, color="gray", linestyle=":")
left.legend()
for index, (label, probability) in enumerate(probabilities.items()):
    PrecisionRecallDisplay.from_predictions(
        fast, probability, ax=right, name=label, curve_kwargs={"color": f"C{index}"}
    )
    found = probability > 0.5
    right.plot(recall_score(fast, found), precision_score(fast, found), "o", color=f"C{index}")
right.set(title="Dots: at a probability of one half", ylim=(0, 1.05))
plt.show()

# %%
# Without weights, hardly any of the patients with fast progression are detected, at an accuracy that looks no worse:
# always predicting "no" is right in four cases out of five. But the curves on the right lie close together. So the
# weights do not rank the patients better. They choose another point of the curve, as a threshold below one half would,
# and the predicted probabilities are then no longer calibrated.
#
# *Sample weights.* A row of weight two counts like two equal rows. With all rows in one batch, this holds exactly:

weights = np.where(fast, 2.0, 1.0)
twice = np.concatenate([np.arange(len(y)), np.flatnonzero(fast)])
X_scaled = StandardScaler().fit_transform(X)
settings = {
    "hidden_layer_sizes": (20,),
    "batch_size": 10**6,
    "max_iter": 100,
    "n_iter_no_change": np.inf,
    "random_state": 0,
}
warnings.filterwarnings("ignore", message=".*batch_size")
weighted = BackpropClassifier(**settings).fit(X_scaled, fast, sample_weight=weights)
doubled = BackpropClassifier(**settings).fit(X_scaled[twice], fast[twice])
difference = np.abs(weighted.predict_proba(X_scaled) - doubled.predict_proba(X_scaled)).max()
print(f"largest difference of a probability: {difference:.0e}")
