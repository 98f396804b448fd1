"""scikit-learn's meta-estimators around this package's network and scikit-learn's: log loss, or accuracy.

The score is the accuracy where there are no probabilities. scikit-learn's network has `predict_proba` only; ours also
has `decision_function`, which most meta-estimators prefer.
"""

import warnings

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.measure import OURS, Results
from skbackprop import BackpropClassifier

_DATA = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
_NETWORKS = {OURS: BackpropClassifier, "scikit-learn": MLPClassifier}


def _stack(method):
    return lambda network: StackingClassifier(
        [("network", network)], LogisticRegression(max_iter=1000), cv=3, stack_method=method
    )


_AROUND = {
    "alone": lambda network: network,
    "calibrated, sigmoid": lambda network: CalibratedClassifierCV(network, method="sigmoid", cv=3),
    "calibrated, isotonic": lambda network: CalibratedClassifierCV(network, method="isotonic", cv=3),
    "calibrated, temperature": lambda network: CalibratedClassifierCV(network, method="temperature", cv=3),
    "one-vs-rest": OneVsRestClassifier,
    "one-vs-one": OneVsOneClassifier,
    "stacked": _stack("auto"),
}


def _value(model, X, y):
    if hasattr(model, "predict_proba"):
        return log_loss(y, model.predict_proba(X), labels=model.classes_)
    return accuracy_score(y, model.predict(X))


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    for data, load in _DATA.items():
        X, y = load(return_X_y=True)
        for name, around in _AROUND.items():
            if options.only and name not in options.only:
                continue
            values = {peer: [] for peer in _NETWORKS}
            unit = "accuracy" if name == "one-vs-one" else "log loss"
            for seed in range(options.rounds):
                X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=seed)
                for peer, network in _NETWORKS.items():
                    model = around(network((30,), max_iter=100, random_state=seed))
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", ConvergenceWarning)
                        values[peer].append(
                            _value(make_pipeline(StandardScaler(), model).fit(X_train, y_train), X_test, y_test)
                        )
            results.add(f"{data}, {name}", {peer: {"values": own} for peer, own in values.items()}, unit)
    results.finish()
