"""What is relied on beyond what other libraries promise: each test says what of ours breaks where it has moved.

Private names that are imported fail by themselves, in skbackprop/_sklearn.py; these are the rest. No test fits a
network, so that a failure points to the other library.
"""

import inspect
import json
import pickle
import threading

import joblib
import numba
import numpy as np
import pytest
import scipy.optimize
from joblib.parallel import (
    BACKENDS,
    DEFAULT_BACKEND,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    get_active_backend,
)
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.parallel import Parallel, delayed

from skbackprop import BackpropClassifier, _sklearn
from skbackprop._compile import JIT
from skbackprop.estimators._shared import SharedRows
from skbackprop.training.population import observed

X, Y = load_iris(return_X_y=True)

needs_compiler = pytest.mark.skipif(not JIT, reason="needs Numba's compiler")


# scikit-learn's callbacks


class Recorder:
    """Notes the contexts of tasks; tells the root to stop after some."""

    def __init__(self, n_tasks=None):
        self.n_tasks = n_tasks
        self.begun, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.begun.append((context, context.task_name, context.max_subtasks))

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context)
        return len(self.ended) == self.n_tasks


class Steps(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """An estimator of nothing but ten tasks."""

    @with_callbacks
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        context = _sklearn.callback_context(self, 10)
        context.call_on_fit_task_begin(estimator=self)
        self.n_iter_ = 0
        for _ in range(10):
            task = context.subcontext(task_name="step")
            task.call_on_fit_task_begin(estimator=self)
            self.n_iter_ += 1
            if task.call_on_fit_task_end(estimator=self):
                break
        context.call_on_fit_task_end(estimator=self)
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def test_callbacks_are_an_attribute_that_goes_with_them():
    estimator = Steps()
    assert not _sklearn.callbacks_of(estimator)
    recorder = Recorder()
    estimator.set_callbacks(recorder)
    assert list(_sklearn.callbacks_of(estimator)) == [recorder], "`_Callbacks.active`: no callback would be called"
    estimator.set_callbacks()
    assert not _sklearn.callbacks_of(estimator), "`_Callbacks.active`: each epoch would pay for callbacks that are gone"


def test_a_callback_that_returns_true_stops_the_fit():
    recorder = Recorder(n_tasks=3)
    assert Steps().set_callbacks(recorder).fit(X, Y).n_iter_ == 3, (
        "callbacks could not stop training: `_Callbacks.end_task`"
    )
    names = [name for _, name, _ in recorder.begun]
    assert names == ["fit", "step", "step", "step"], "`Checkpoint` tells the tasks apart by these names"


def test_tasks_can_be_added_to_the_contexts_of_a_search():
    recorder, added = Recorder(), []

    def call(function, *arguments, **keywords):
        context = keywords["callback_ctx"].parent
        if not added:
            added.append(context)
            # What `_Round` does for the line with the best score so far.
            context.max_subtasks += 1
            context.call_on_fit_task_begin(estimator=search)
            task = context.subcontext(task_id=context.max_subtasks - 1, max_subtasks=1)
            task.task_name = "another"
            task.call_on_fit_task_begin(estimator=search)
            task.call_on_fit_task_end(estimator=search)
        assert context is added[0], "`BestSoFar` knows the rounds of successive halving by the contexts of their tasks"
        return function(*arguments, **keywords)

    search = GridSearchCV(Steps(), {}, cv=3).set_callbacks(recorder)
    with observed(call):
        search.fit(X, Y)
    again = [n_tasks for context, _, n_tasks in recorder.begun if context is added[0]]
    assert again == [again[0], again[0] + 1], "a search's progress bar would show no best score: `_Round`"
    assert "another" in [name for _, name, _ in recorder.begun], (
        "a search's progress bar would show no parameters: `_Round`"
    )


def test_the_level_of_a_context_decides_which_callbacks_see_it():
    class Everywhere(Recorder):
        max_propagation_depth = 1

    depths = []
    for lowered in (False, True):
        recorder = Everywhere()

        def call(function, *arguments, lowered=lowered, **keywords):
            if lowered:
                _sklearn.lower(keywords["callback_ctx"])
            return function(*arguments, **keywords)

        with observed(call):
            GridSearchCV(Steps(), {}, cv=2, refit=False).set_callbacks(recorder).fit(X, Y)
        depths.append(sum(name == "step" for _, name, _ in recorder.begun))
    assert depths == [20, 0], "a search's progress bar would have a line for each fit: `BestSoFar.begin`"


# scikit-learn's cross-validation


def tasks_of(run, **settings):
    """The arguments, by name, of the tasks that a cross-validation runs."""
    found = []

    def call(function, *arguments, **keywords):
        assert _sklearn.is_validation_task(function), "`trained_together` would share nothing: tasks of another module"
        found.append(inspect.signature(function).bind(*arguments, **keywords).arguments)
        return function(*arguments, **keywords)

    with observed(call):
        run(**settings)
    return found


def test_tasks_of_a_search_are_told_by_their_arguments():
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 10.0]}, cv=2)
    tasks = tasks_of(search.fit, X=X, y=Y)
    needed = {"estimator", "X", "train", "parameters", "caller", "callback_ctx", "candidate_progress", "split_progress"}
    assert all(needed <= task.keys() for task in tasks), "`_Task` and `BestSoFar` look for these arguments"
    assert all(task["X"] is tasks[0]["X"] for task in tasks), "`_ShareRows`: data would be validated for each fit"
    assert all(task["caller"] is search for task in tasks), "`BestSoFar` passes over tasks of other searches"
    assert len({id(task["train"]) for task in tasks}) == 2, "`FoldMemory` knows folds by their arrays of rows"
    assert len({id(task["estimator"]) for task in tasks}) == 6, "`_ShareSteps` changes each fit's own pipeline"
    assert [task["candidate_progress"][0] for task in tasks] == [0, 0, 1, 1, 2, 2], (
        "`_Round` gathers scores by candidate"
    )
    assert {task["split_progress"][1] for task in tasks} == {2}, "`_Round` waits for the scores of all folds"


@pytest.mark.parametrize("function", [cross_validate, cross_val_predict, learning_curve])
def test_tasks_of_the_functions_are_told_by_their_arguments(function):
    settings = {"train_sizes": [0.5], "shuffle": True} if function is learning_curve else {}
    tasks = tasks_of(function, estimator=DummyClassifier(), X=X, y=Y, cv=3, **settings)
    assert len(tasks) == 3
    assert all({"estimator", "X", "train"} <= task.keys() for task in tasks), "`_Task` looks for these arguments"


@pytest.mark.parametrize("scoring", [None, ["accuracy"]])
def test_the_result_of_a_searchs_task_has_its_scores(scoring):
    results = []

    def call(function, *arguments, **keywords):
        results.append(function(*arguments, **keywords))
        return results[-1]

    with observed(call):
        GridSearchCV(DummyClassifier(), {}, cv=2, scoring=scoring, refit=False).fit(X, Y)
    scores = [result["test_scores"] for result in results]
    scores = scores if scoring is None else [score["accuracy"] for score in scores]
    assert all(isinstance(score, float) for score in scores), "a search's progress bar would show no best score"


def test_rows_of_data_are_taken_by_a_single_index():
    taken = []

    class Rows(SharedRows):
        def __getitem__(self, rows):
            taken.append(rows[0] if isinstance(rows, tuple) else rows)
            return super().__getitem__(rows)

    rows = np.arange(5)
    part = _sklearn._safe_indexing(Rows(X), rows)
    assert isinstance(part, SharedRows), "`SharedRows`: each fit would get a copy of its rows"
    assert len(taken) == 1
    assert taken[0] is rows, "`SharedRows`: rows are known by the array of their indices"
    assert _sklearn._num_samples(part) == 5


def test_a_pipeline_asks_its_memory_once_and_fits_what_it_has():
    asked, cloned = [], []

    class Memory:
        location = None

        def cache(self, function, ignore=()):
            asked.append(function)
            return function

        def __sklearn_clone__(self):
            cloned.append(self)
            return self

    class Scaler(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            fitted.append(self)
            return super().fit(X, y, sample_weight)

    fitted = []
    pipeline = make_pipeline(Scaler(), StandardScaler(), Ridge(), memory=Memory())
    given = pipeline[0]
    pipeline.fit(X, Y)
    assert len(asked) == 1, "`FoldMemory`: what a scorer fits would be taken for steps of the fold"
    assert fitted == [given], "`FoldMemory`: a step would be cloned, and then is none of those that it knows"
    clone(pipeline)
    assert len(cloned) == 1, "`FoldMemory`: a clone of the pipeline would get the memory of a fold"


# scikit-learn's bagging


class Traced:
    """Notes the calls of the hooks that the ensembles override."""

    def note(self, name):
        self.__dict__.setdefault("calls", []).append((name, threading.get_ident()))

    def _validate_y(self, y):
        self.note("classes")
        return super()._validate_y(y)

    def _get_estimator(self):
        self.note("default")
        return super()._get_estimator()

    def _validate_estimator(self, default=None):
        self.note("check")
        return super()._validate_estimator(default)

    def _make_estimator(self, append=True, random_state=None):
        self.note("make")
        member = super()._make_estimator(append, random_state)
        member.ensemble = self
        return member


class Member(DecisionTreeClassifier):
    def fit(self, X, y, sample_weight=None):
        self.ensemble.note("fit")
        del self.ensemble  # it would go with the tree wherever that goes
        return super().fit(X, y, sample_weight)


class TracedBagging(Traced, BaggingClassifier):
    pass


def test_order_of_baggings_hooks():
    ensemble = TracedBagging(Member(), n_estimators=4, n_jobs=2, random_state=0)
    with joblib.parallel_config("threading"):
        ensemble.fit(X, Y)
    names = [name for name, _ in ensemble.calls if name != "default"]
    assert names[:2] == ["classes", "check"], (
        "`_validate_estimator`: class weights are numbered once the classes are known"
    )
    for thread in {thread for name, thread in ensemble.calls if name == "make"}:
        own = [name for name, where in ensemble.calls if where == thread and name in ("make", "fit")]
        assert own == ["make", "fit"] * (len(own) // 2), (
            "`_Ensemble._make_estimator`: warnings would count for another member"
        )
    assert ensemble.estimators_[0].classes_.tolist() == [0, 1, 2], "members know classes by numbers: `_predict_member`"


def test_what_baggings_samples_are_drawn_from_again():
    fitted = BaggingRegressor(n_estimators=3, max_samples=0.5, random_state=0).fit(X, Y, np.arange(1.0, 151.0))
    restored = BaggingRegressor(n_estimators=3, max_samples=0.5)
    for name in ("n_features_in_", "estimators_", "estimators_features_", *_sklearn.BAGGING_DRAWS):
        assert hasattr(fitted, name), f"model files of ensembles hold {name}"
        setattr(restored, name, getattr(fitted, name))
    for one, other in zip(fitted.estimators_samples_, restored.estimators_samples_, strict=True):
        np.testing.assert_array_equal(one, other, "ensembles from model files would have other `estimators_samples_`")


def test_bagging_appends_to_the_lists_that_it_finds():
    ensemble = BaggingClassifier(n_estimators=1, warm_start=True, random_state=0).fit(X, Y)
    lists = ensemble.estimators_, ensemble.estimators_features_
    ensemble.set_params(n_estimators=2).fit(X, Y)
    found = ensemble.estimators_, ensemble.estimators_features_
    assert all(one is other for one, other in zip(lists, found, strict=True)), "`_Ensemble.fit` copies them for nothing"


# scikit-learn's tasks, and joblib's backends


def test_tasks_carry_their_function_and_configuration():
    seen = []

    def call(function, *arguments):
        seen.append(function)
        return function(*arguments)

    with observed(call):
        assert Parallel(n_jobs=1)(delayed(pow)(i, 2) for i in range(3)) == [0, 1, 4]
    assert seen == [pow] * 3, "`unwrapped`: tasks would change the filters of warnings of all threads"


class Future:
    value = error = None


class Backend(ParallelBackendBase):
    """Runs tasks at once, and notes what joblib calls."""

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True

    def __init__(self, **settings):
        super().__init__(**settings)
        self.calls = []

    def effective_n_jobs(self, n_jobs):
        return 2

    def configure(self, n_jobs=1, parallel=None, **settings):
        self.calls.append("configure")
        self.parallel = parallel
        return 2

    def start_call(self):
        self.calls.append("start_call")

    def submit(self, func, callback=None):
        self.calls.append("submit")
        future = Future()
        try:
            future.value = func()
        except ValueError as error:
            future.error = error
        callback(future)
        return future

    def retrieval_context(self):
        self.calls.append("retrieval_context")
        return super().retrieval_context()

    def retrieve_result_callback(self, out):
        if out.error is not None:
            raise out.error
        return out.value

    def abort_everything(self, ensure_ready=True):
        self.calls.append("abort_everything")

    def terminate(self):
        self.calls.append("terminate")


def test_joblib_tells_a_backend_in_order():
    backend = Backend()
    with joblib.parallel_config(backend):
        assert joblib.Parallel(n_jobs=2, pre_dispatch=2)(joblib.delayed(pow)(i, 2) for i in range(4)) == [0, 1, 4, 9]
    order = list(dict.fromkeys(backend.calls))
    assert order == ["configure", "start_call", "submit", "retrieval_context", "terminate"], (
        "`PopulationBackend` expects more tasks from `start_call` until `retrieval_context`, and then ends its threads"
    )


def test_joblib_tells_a_backend_of_an_error():
    backend = Backend()
    with joblib.parallel_config(backend), pytest.raises(ValueError, match="invalid literal"):
        joblib.Parallel(n_jobs=2)(joblib.delayed(int)(text) for text in ("1", "x"))
    assert "abort_everything" in backend.calls, "`PopulationBackend`: kernels would run on after Ctrl-C"


def test_tasks_of_a_batch_can_be_exchanged():
    class Exchanging(Backend):
        def submit(self, func, callback=None):
            func.items[:] = [(lambda task, *arguments: -task(*arguments), (task, *a), k) for task, a, k in func.items]
            return super().submit(func, callback)

    with joblib.parallel_config(Exchanging()):
        results = joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(i, 2) for i in range(3))
    assert results == [0, -1, -4], "`_calling`: nothing of what trainings share would reach them"


def test_a_backend_may_give_way_to_another():
    other = Backend(nesting_level=0)

    class Giving(Backend):
        def configure(self, n_jobs=1, **settings):
            raise FallbackToBackend(other)

    with joblib.parallel_config(Giving()):
        joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(3))
    assert "submit" in other.calls, "`_InTurn` would not run single jobs"


def test_nested_calls_get_the_backend_that_is_asked_for():
    inner = SequentialBackend(nesting_level=1), None

    class Nesting(Backend):
        def get_nested_backend(self):
            return inner

    with joblib.parallel_config(Nesting()):
        (found,) = joblib.Parallel(n_jobs=2)([joblib.delayed(get_active_backend)()])
    assert found[0] is inner[0], "`_InTurn`: what is parallel within a single job would run on other backends"


def test_the_default_backend_is_known_by_its_class():
    assert isinstance(get_active_backend()[0], BACKENDS[DEFAULT_BACKEND]), (
        "`population`: networks would be trained in processes, as if the user had chosen them"
    )


# SciPy, NumPy, Numba


def parabola(x):
    return x @ (np.arange(len(x)) * x), 2.0 * np.arange(len(x)) * x


def minimized(callback=None, **options):
    return scipy.optimize.minimize(
        parabola, np.ones(5), method="L-BFGS-B", jac=True, callback=callback, options=options
    )


def test_lbfgs_that_a_callback_stops_has_status_99():
    seen = []

    def stop(intermediate_result):
        seen.append((intermediate_result.fun, intermediate_result.x.shape))
        raise StopIteration

    result = minimized(stop)
    assert seen == [(result.fun, (5,))]
    assert result.status == 99, "`lbfgs.minimize` would warn of no convergence where a callback has stopped it"


def test_lbfgs_that_reaches_a_limit_says_which():
    assert minimized().status == 0
    for limit, count in (("maxiter", "nit"), ("maxfun", "nfev")):
        result = minimized(**{limit: 2})
        assert result.status not in (0, 99), "`lbfgs.minimize` would not warn"
        assert result[count] >= 2, "`lbfgs.minimize` would advise to increase another limit"


def test_lbfgs_keeps_ten_pairs_of_vectors():
    function = scipy.optimize._lbfgsb_py._minimize_lbfgsb
    kept = inspect.signature(function).parameters["maxcor"].default
    assert kept == 10, "`_LBFGS_VECTORS`: memory would be refused, or run out, at another size of network"


def test_numpys_own_generator_is_known_by_its_words():
    generator = np.random.RandomState(0)._bit_generator
    assert type(generator) is np.random.MT19937, "`draw_orders` would be slow"
    assert hasattr(generator.ctypes, "state_address"), "`draw_orders`: where the generator's words are"


@needs_compiler
def test_numba_asks_an_object_for_compiled_code_and_gives_it_what_it_compiles():
    class Cache(numba.core.caching._Cache):
        cache_path = None
        kept, asked = None, 0

        def load_overload(self, signature, target_context):
            self.asked += 1
            if self.kept is None:
                return None
            return numba.core.compiler.CompileResult._rebuild(target_context, *pickle.loads(self.kept))

        def save_overload(self, signature, data):
            self.kept = numba.core.serialize.dumps(data._reduce())

        enable = disable = flush = None

    def double(x):
        return x * 2.0

    cache = Cache()
    for _ in range(2):
        dispatcher = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, _nrt=False)(double)
        dispatcher._cache = cache
        assert dispatcher(3.0) == 6.0
    assert cache.asked == 2, "`KernelCache`: each process would compile anew"
    assert cache.kept is not None, "`KernelCache`: each process would compile anew"


# Files


def test_layout_of_safetensors():
    library = pytest.importorskip("safetensors.numpy")
    data = library.save({"a": np.arange(3.0)}, metadata={"second": "2", "first": "1"})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["__metadata__"] == {"first": "1", "second": "2"}, "`container._in_order` puts the metadata in order"
    assert header["a"]["data_offsets"] == [0, 24]
    assert data[8 + length :] == np.arange(3.0).tobytes(), "`container._in_order` takes the rest as it is"
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    again = library.load(len(text).to_bytes(8, "little") + text + data[8 + length :])
    assert again["a"].tolist() == [0.0, 1.0, 2.0], "model files would have headers that the library refuses"


def test_longest_header_that_safetensors_reads():
    library = pytest.importorskip("safetensors")
    numpy = pytest.importorskip("safetensors.numpy")
    # The shorter one is refused only for the bytes that are missing.
    for length, reason in ((100_000_000, "invalid header length"), (100_000_001, "header too large")):
        with pytest.raises(library.SafetensorError) as error:
            numpy.load(length.to_bytes(8, "little") + b"{}")
        assert reason in str(error.value), "`container.write`: longer headers are written, and then not read"


def test_types_that_skops_is_to_be_asked_for():
    io = pytest.importorskip("skops.io")
    data = io.dumps(make_pipeline(StandardScaler(), BackpropClassifier()))
    types = io.get_untrusted_types(data=data)
    assert types, "the refusal in `save` sends users to a list that is empty"
    assert all(name.startswith(("skbackprop.", "sklearn.")) for name in types), (
        "the refusal in `save` names these prefixes"
    )


def test_names_that_converters_for_skl2onnx_use():
    pytest.importorskip("skl2onnx")
    from skl2onnx import update_registered_converter
    from skl2onnx.common import _container, _topology, data_types, exceptions

    parameters = inspect.signature(update_registered_converter).parameters
    assert {"parser", "options"} <= parameters.keys(), "`register_onnx_converters` gives both"
    needed = {
        _topology.Scope: [
            "declare_local_operator",
            "declare_local_variable",
            "get_options",
            "get_unique_variable_name",
        ],
        _container.ModelComponentContainer: ["add_initializer", "add_node", "get_options"],
        data_types: ["DoubleTensorType", "SequenceType", "UInt64TensorType", "guess_proto_type"],
        exceptions: ["MissingShapeCalculator"],
    }
    for owner, names in needed.items():
        missing = [name for name in names if not hasattr(owner, name)]
        assert not missing, f"the converters in `_onnx` use {missing} of skl2onnx's {owner.__name__}"
