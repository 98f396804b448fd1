"""The snippets of from_mlpclassifier.rst, which shows the parts between the marks: each runs by itself."""

import warnings

from sklearn.exceptions import ConvergenceWarning

warnings.simplefilter("ignore", ConvergenceWarning)

# [activations]
from skbackprop import BackpropClassifier
from skbackprop.functions import LeakyReLU

BackpropClassifier(activation="gelu")
BackpropClassifier(activation=LeakyReLU(0.1))
# One for each hidden layer
BackpropClassifier(hidden_layer_sizes=(50, 20), activation=["selu", LeakyReLU(0.1)])
# [end of activations]

# [solvers]
from skbackprop import BackpropClassifier
from skbackprop.functions import AdamW

BackpropClassifier(solver="nadam")
BackpropClassifier(solver=AdamW(weight_decay=0.01), alpha=0.0)
# [end of solvers]

# [schedules]
from skbackprop import BackpropClassifier
from skbackprop.functions import Cosine, OneCycle

BackpropClassifier(solver="adam", learning_rate="cosine", max_iter=50)
BackpropClassifier(solver="sgd", learning_rate=OneCycle(), max_iter=50)
BackpropClassifier(learning_rate=Cosine(warmup_epochs=5), max_iter=50)
BackpropClassifier(learning_rate="reduce_on_plateau")
# [end of schedules]

# [classifier losses]
from skbackprop import BackpropClassifier
from skbackprop.functions import Focal, LogLoss

BackpropClassifier(loss="squared_hinge")
BackpropClassifier(loss=Focal(gamma=2.0))
BackpropClassifier(loss=LogLoss(label_smoothing=0.1))
# [end of classifier losses]

# [regressor losses]
from skbackprop import BackpropRegressor
from skbackprop.functions import Huber, Tweedie

BackpropRegressor(loss="absolute_error")
BackpropRegressor(loss=Huber(delta=1.0))
BackpropRegressor(loss=Tweedie(power=1.5))
# [end of regressor losses]

# [intervals]
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from skbackprop import BackpropRegressor
from skbackprop.functions import Quantile

X, y = load_diabetes(return_X_y=True)
X, y = scale(X), y / 100
low, high = (
    BackpropRegressor(loss=Quantile(quantile), random_state=0).fit(X, y).predict(X) for quantile in (0.05, 0.95)
)

gaussian = BackpropRegressor(loss="gaussian_nll", random_state=0).fit(X, y)
mean, std = gaussian.predict(X, return_std=True)
# [end of intervals]

# [class weights]
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skbackprop import BackpropClassifier

X, y = load_breast_cancer(return_X_y=True)
BackpropClassifier(class_weight="balanced").fit(scale(X), y)
BackpropClassifier(class_weight={0: 5.0, 1: 1.0}).fit(scale(X), y)
# [end of class weights]

# [validation data]
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from skbackprop import BackpropClassifier

X, y = load_digits(return_X_y=True)
X_train, X_val, y_train, y_val = train_test_split(X / 16, y, random_state=0)

model = BackpropClassifier(early_stopping=True, scoring="f1_macro", random_state=0)
model.fit(X_train, y_train, X_val=X_val, y_val=y_val)

# Rows of the same group all on one side
grouped = BackpropClassifier(early_stopping=True, validation_fraction=GroupShuffleSplit(n_splits=1, test_size=0.2))
grouped.fit(X_train, y_train, groups=np.arange(len(X_train)) // 10)

# All epochs, then the best weights of them
BackpropClassifier(restore_best_weights=True, max_iter=30).fit(X_train, y_train, X_val=X_val, y_val=y_val)
# [end of validation data]

# [history]
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier

X, y = load_digits(return_X_y=True)
model = BackpropClassifier(early_stopping=True, random_state=0).fit(X / 16, y)
print(model.loss_curve_[-1], model.validation_loss_curve_[-1], model.validation_scores_[-1])
print(model.history_[-1])
# [end of history]

# [regularization]
from skbackprop import BackpropClassifier

BackpropClassifier(dropout=0.5)
BackpropClassifier(alpha=1e-3, l1_ratio=0.5)
BackpropClassifier(max_norm=3.0)
# [end of regularization]

# [stability]
from skbackprop import BackpropClassifier

BackpropClassifier(clip_norm=1.0)
BackpropClassifier(averaging=0.99)
BackpropClassifier(hidden_layer_sizes=(128,) * 4, normalization="batch")
BackpropClassifier(hidden_layer_sizes=(128,) * 4, normalization="layer")
BackpropClassifier(weight_init="he_normal")
# [end of stability]

# Beyond this line nothing is shown: every name and every setting above can be trained with.
X, y = load_digits(return_X_y=True)
X = X / 16
X_progress, y_progress = load_diabetes(return_X_y=True)
X_progress, y_progress = scale(X_progress), y_progress / 100
NAMES = {
    "activation": [
        *("leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "hard_sigmoid", "hard_tanh"),
        LeakyReLU(0.1),
    ],
    "solver": [
        "adamw",
        "nadam",
        "amsgrad",
        "adamax",
        "rmsprop",
        "adagrad",
        "adadelta",
        "lion",
        AdamW(weight_decay=0.01),
    ],
    "learning_rate": [
        *("cosine", "flat_cosine", "cosine_log", "one_cycle", "step", "exponential", "polynomial", "reduce_on_plateau"),
        *(Cosine(warmup_epochs=5), OneCycle()),
    ],
    "loss": ["hinge", "squared_hinge", "focal", Focal(gamma=2.0), LogLoss(label_smoothing=0.1)],
    "dropout": [0.5],
    "max_norm": [3.0],
    "clip_norm": [1.0],
    "averaging": [0.99],
    "normalization": ["batch", "layer"],
    "weight_init": ["he_normal"],
}
SETTINGS = [{name: value} for name, values in NAMES.items() for value in values]
SETTINGS.append({"hidden_layer_sizes": (50, 20), "activation": ["selu", LeakyReLU(0.1)]})
SETTINGS.append({"alpha": 1e-3, "l1_ratio": 0.5})
for setting in SETTINGS:
    model = BackpropClassifier(random_state=0, max_iter=5).set_params(**setting).fit(X, y)
    assert np.isfinite(model.loss_), setting
REGRESSION = ("absolute_error", "huber", "log_cosh", "quantile", "gamma", "tweedie", "gaussian_nll")
for loss in (*REGRESSION, Huber(delta=1.0), Quantile(0.9), Tweedie(power=1.5)):
    model = BackpropRegressor(loss, random_state=0, max_iter=5).fit(X_progress, y_progress)
    assert np.isfinite(model.predict(X_progress)).all(), loss
assert mean.shape == std.shape == low.shape == high.shape == y_progress.shape
