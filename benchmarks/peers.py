"""The libraries to compare with: one small class each, with its best known settings.

A peer gets a workload and a number of threads, trains the same network from the same initial weights with the same
updates, and returns how long that took. Frameworks need not report the loss of each epoch, while the estimators do. A
framework is imported only by its own peer, in a separate process.
"""

import importlib.util
import time
from abc import ABC, abstractmethod

import numpy as np

from benchmarks.workloads import (
    ALPHA,
    BETA_1,
    BETA_2,
    EPSILON,
    LEARNING_RATE,
    MOMENTUM,
    initial_params,
    load,
    mean_loss,
)


class Peer(ABC):
    """A way to train a network.

    Parameters
    ----------
    workload : Workload
    dtype : str
        "float32" or "float64".
    n_threads : int
        Threads it may use; the process sees as many cores.

    Attributes
    ----------
    name : str
        Name in the tables.
    package : str
        Distribution that has to be installed.
    dense_only : bool
        Whether it does not take sparse data.
    """

    name = package = None
    dense_only = True

    def __init__(self, workload, dtype, n_threads):
        self.workload = workload
        self.dtype = dtype
        self.n_threads = n_threads
        if self.dense_only and workload.density < 1:
            raise NotImplementedError("its mini-batches would have to be made dense")
        self.X, self.y = load(workload, dtype)

    @classmethod
    def available(cls):
        """Whether it is installed."""
        return importlib.util.find_spec(cls.package) is not None

    def prepare(self):  # noqa: B027
        """Convert the data and create compiled functions; this is not timed."""

    @abstractmethod
    def run(self, n_epochs):
        """Train from the initial weights.

        Parameters
        ----------
        n_epochs : int

        Returns
        -------
        seconds : float
        n_done : int
            Epochs or iterations that were done.
        """

    @abstractmethod
    def params(self):
        """Weights and intercepts after `run`, as `initial_params` gives them."""

    def check(self):
        """Training loss after `run`."""
        return mean_loss(self.workload, self.params(), self.X, self.y)


class _Estimator(Peer):
    """One of the two packages with scikit-learn's parameters; all of `fit` is timed, validation included."""

    dense_only = False

    @abstractmethod
    def estimator(self, **settings):
        """The estimator for the workload's task."""

    def run(self, n_epochs):
        """Train; see `Peer.run`."""
        workload = self.workload
        self._model = self.estimator(
            hidden_layer_sizes=workload.hidden,
            solver=workload.solver,
            alpha=ALPHA,
            batch_size=workload.batch_size,
            learning_rate_init=LEARNING_RATE,
            momentum=MOMENTUM,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            max_iter=n_epochs,
            max_fun=10**9,
            tol=0,
            n_iter_no_change=np.inf,
            random_state=0,
        )
        start = time.perf_counter()
        self._model.fit(self.X, self.y)
        return time.perf_counter() - start, self._model.n_iter_

    def params(self):
        """Weights and intercepts of the last run."""
        return list(zip(self._model.coefs_, self._model.intercepts_, strict=True))


class Skbackprop(_Estimator):
    """skbackprop, which chooses the number of threads itself unless it is set."""

    name = package = "skbackprop"
    n_jobs = None

    def estimator(self, **settings):
        """The estimator for the workload's task."""
        from skbackprop import BackpropClassifier, BackpropRegressor

        return (BackpropClassifier if self.workload.n_classes else BackpropRegressor)(n_jobs=self.n_jobs, **settings)


class ScikitLearn(_Estimator):
    """scikit-learn's own multilayer perceptron, which keeps the data's dtype."""

    name = "scikit-learn"
    package = "sklearn"

    def estimator(self, **settings):
        """The estimator for the workload's task."""
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        return (MLPClassifier if self.workload.n_classes else MLPRegressor)(**settings)


class ScikitLearn64(ScikitLearn):
    """The same in float64, as for users who do not convert their data."""

    name = "scikit-learn float64"

    def __init__(self, workload, dtype, n_threads):
        super().__init__(workload, "float64", n_threads)


class Torch(Peer):
    """PyTorch in eager mode: autograd and its fused optimizer on preloaded tensors, indexed without a DataLoader."""

    name = package = "torch"

    def prepare(self):
        """Preload the data; define the compiled functions."""
        import torch

        torch.set_num_threads(self.n_threads)
        self._torch = torch
        self._X = torch.from_numpy(self.X)
        self._y = torch.from_numpy(self.y)
        if self.workload.n_classes == 2:
            self._y = self._y.to(self._X.dtype)

    def run(self, n_epochs):
        """Train; see `Peer.run`."""
        self._reset()
        if self.workload.solver == "lbfgs":
            return _lbfgs(self._loss_gradient, self._flat(), n_epochs)
        start = time.perf_counter()
        step = self._make_step()
        for _ in range(n_epochs):
            for rows in self._torch.randperm(len(self._y)).split(self.workload.batch_size):
                step(rows)
        return time.perf_counter() - start, n_epochs

    def params(self):
        """Weights and intercepts of the last run."""
        numbers = [param.detach().numpy() for param in self._params]
        return [(weights.T, intercepts) for weights, intercepts in zip(numbers[::2], numbers[1::2], strict=True)]

    def _reset(self):
        self._params = []
        for weights, intercepts in initial_params(self.workload):
            for values in (weights.T, intercepts):
                param = self._torch.tensor(np.ascontiguousarray(values), dtype=self._X.dtype, requires_grad=True)
                self._params.append(param)

    def _make_step(self):
        torch, params, X, y = self._torch, self._params, self._X, self._y
        # The optimizer's L2 penalty equals ours except for the intercepts and a shorter last batch; two groups of
        # parameters, without and with it, would cost time in every step.
        settings = {"lr": LEARNING_RATE, "weight_decay": ALPHA / self.workload.batch_size, "fused": True}
        if self.workload.solver == "adam":
            optimizer = torch.optim.Adam(params, betas=(BETA_1, BETA_2), eps=EPSILON, **settings)
        else:
            optimizer = torch.optim.SGD(params, momentum=MOMENTUM, nesterov=True, **settings)

        def step(rows):
            optimizer.zero_grad()
            self._loss(params, X[rows], y[rows]).backward()
            optimizer.step()

        return step

    def _loss(self, params, X, y):
        functional = self._torch.nn.functional
        for layer in range(0, len(params), 2):
            X = functional.linear(X if layer == 0 else functional.relu(X), params[layer], params[layer + 1])
        if self.workload.n_classes > 2:
            return functional.cross_entropy(X, y)
        if self.workload.n_classes == 2:
            return functional.binary_cross_entropy_with_logits(X[:, 0], y)
        return 0.5 * functional.mse_loss(X[:, 0], y)

    def _flat(self):
        return np.concatenate([param.detach().numpy().ravel() for param in self._params])

    def _loss_gradient(self, point):
        torch, params = self._torch, self._params
        parts = torch.from_numpy(point).to(self._X.dtype).split([param.numel() for param in params])
        with torch.no_grad():
            for param, part in zip(params, parts, strict=True):
                param.copy_(part.view_as(param))
        penalty = ALPHA / (2 * len(self._y)) * sum((weights * weights).sum() for weights in params[::2])
        loss = self._loss(params, self._X, self._y) + penalty
        gradient = torch.cat([part.ravel() for part in torch.autograd.grad(loss, params)])
        return loss.item(), gradient.double().numpy()


class TorchCompile(Torch):
    """PyTorch with the whole step compiled into one graph: batch, gradient and update.

    Twice as fast as compiling ``loss.backward(); optimizer.step()``, where the graph breaks.
    """

    name = "torch.compile"

    def prepare(self):
        """Preload the data; define the compiled functions."""
        super().prepare()
        if self.workload.solver == "lbfgs":
            raise NotImplementedError("there is no mini-batch step to compile")
        torch = self._torch
        torch.compiler.reset()
        gradient = torch.func.grad(self._loss)
        rule, _ = _RULES[self.workload.solver]

        def step(params, slots, n_steps, X, y, rows):
            gradients = gradient(params, X[rows], y[rows])
            for i, param in enumerate(params):
                g = gradients[i] + (ALPHA / len(rows) * param if i % 2 == 0 else 0)
                state = [slot[i] for slot in slots]
                values = rule(torch.sqrt, n_steps, g, param, *state)
                for old, new in zip((param, *state), values, strict=True):
                    old.copy_(new)

        # Dynamic shapes would make the kernels slower; the last, shorter batch gets its own kernels. A C++ wrapper
        # costs less per call than a Python wrapper, and max_autotune tries several matrix products.
        options = {"cpp_wrapper": True, "max_autotune": True}
        self._compiled = torch.compile(step, dynamic=False, fullgraph=True, options=options)

    def _make_step(self):
        torch, X, y = self._torch, self._X, self._y
        params = self._params = [param.detach() for param in self._params]
        _, n_slots = _RULES[self.workload.solver]
        slots = [[torch.zeros_like(param) for param in params] for _ in range(n_slots)]
        n_steps = torch.zeros((), dtype=X.dtype, device=X.device)

        def step(rows):
            with torch.no_grad():
                n_steps.add_(1)  # not in the graph, where PyTorch 2.13 reads the old value in float64
                # Arguments need fewer guards than captured variables.
                self._compiled(params, slots, n_steps, X, y, rows)

        return step


class Jax(Peer):
    """JAX: a jitted scan over all batches of an epoch, its arguments donated.

    The order comes from NumPy: `jax.random.permutation` sorts, which takes longer than an epoch of a small network.
    """

    name = package = "jax"

    def prepare(self):
        """Preload the data; define the compiled functions."""
        import jax

        jax.config.update("jax_enable_x64", self.dtype == "float64")
        self._jax = jax
        self._X, self._y = (
            jax.device_put(self.X),
            jax.device_put(self.y.astype(np.int32 if self._labels else self.dtype)),
        )
        rule, self._n_slots = _RULES.get(self.workload.solver, (None, 0))
        batch_size = self.workload.batch_size
        n_full = len(self.y) // batch_size * batch_size

        def objective(params, X, y):
            penalty = sum(self._jax.numpy.vdot(weights, weights) for weights, _ in params)
            return self._loss(params, X, y) + ALPHA / (2 * len(y)) * penalty

        def take(array, rows):
            return array.at[rows].get(mode="promise_in_bounds")  # the default checks every row

        def epoch(carry, order, X, y):
            def step(carry, rows):
                params, slots, n_steps = carry
                gradients = jax.grad(objective)(params, take(X, rows), take(y, rows))
                n_steps = n_steps + 1
                leaves, tree = jax.tree.flatten(params)
                columns = zip(jax.tree.leaves(gradients), leaves, *map(jax.tree.leaves, slots), strict=True)
                values = [rule(jax.numpy.sqrt, n_steps, *column) for column in columns]
                params, *slots = (jax.tree.unflatten(tree, column) for column in zip(*values, strict=True))
                return (params, slots, n_steps), None

            carry, _ = jax.lax.scan(step, carry, order[:n_full].reshape(-1, batch_size))
            return step(carry, order[n_full:])[0] if n_full < len(order) else carry

        self._epoch = jax.jit(epoch, donate_argnums=0)
        self._objective_gradient = jax.jit(jax.value_and_grad(objective))

    @property
    def _labels(self):
        return self.workload.n_classes > 2

    def run(self, n_epochs):
        """Train; see `Peer.run`."""
        jax = self._jax
        params = [(w.astype(self.dtype), b.astype(self.dtype)) for w, b in initial_params(self.workload)]
        if self.workload.solver == "lbfgs":
            return self._run_lbfgs(params, n_epochs)
        params = jax.device_put(params)
        slots = [jax.tree.map(jax.numpy.zeros_like, params) for _ in range(self._n_slots)]
        carry = params, slots, jax.numpy.zeros((), self.dtype)
        rng = np.random.default_rng(0)
        start = time.perf_counter()
        for _ in range(n_epochs):
            carry = self._epoch(carry, rng.permutation(len(self.y)).astype(np.int32), self._X, self._y)
        jax.block_until_ready(carry)
        seconds = time.perf_counter() - start
        self._params = carry[0]
        return seconds, n_epochs

    def _run_lbfgs(self, params, n_iterations):
        from jax.flatten_util import ravel_pytree

        start_point, unravel = ravel_pytree(params)

        @self._jax.jit
        def flat_loss_gradient(point):
            loss, gradient = self._objective_gradient(unravel(point), self._X, self._y)
            return loss, ravel_pytree(gradient)[0]

        def loss_gradient(point):
            self._params = point = point.astype(self.dtype)
            loss, gradient = flat_loss_gradient(point)
            return float(loss), np.asarray(gradient, dtype=np.float64)

        loss_gradient(np.asarray(start_point))  # compile
        seconds, n_done = _lbfgs(loss_gradient, np.asarray(start_point), n_iterations)
        self._params = unravel(self._params)
        return seconds, n_done

    def params(self):
        """Weights and intercepts of the last run."""
        return [(np.asarray(weights), np.asarray(intercepts)) for weights, intercepts in self._params]

    def _loss(self, params, X, y):
        jax = self._jax
        for layer, (weights, intercepts) in enumerate(params):
            X = (X if layer == 0 else jax.nn.relu(X)) @ weights + intercepts
        if self._labels:
            raw = jax.numpy.take_along_axis(X, y[:, None], axis=1, mode="promise_in_bounds")[:, 0]
            return (jax.nn.logsumexp(X, axis=1) - raw).mean()
        if self.workload.n_classes == 2:
            return (jax.numpy.logaddexp(0, X[:, 0]) - y * X[:, 0]).mean()
        return 0.5 * ((X[:, 0] - y) ** 2).mean()


class Skorch(Torch):
    """skorch: PyTorch behind scikit-learn's interface; without callbacks and validation split, `fit` is timed."""

    name = package = "skorch"

    def prepare(self):
        """Preload the data; define the compiled functions."""
        super().prepare()
        if self.workload.solver == "lbfgs":
            raise NotImplementedError("its optimizers are PyTorch's, none of which is SciPy's L-BFGS-B")

    def run(self, n_epochs):
        """Train; see `Peer.run`."""
        import skorch

        torch, workload = self._torch, self.workload
        optimizer, settings = torch.optim.SGD, {"momentum": MOMENTUM, "nesterov": True}
        if workload.solver == "adam":
            optimizer, settings = torch.optim.Adam, {"betas": (BETA_1, BETA_2), "eps": EPSILON}
        settings |= {"weight_decay": ALPHA / workload.batch_size, "fused": True}
        kind, criterion = {
            # Twice the loss of the others; Adam's steps do not depend on the scale of the loss.
            0: (skorch.NeuralNetRegressor, torch.nn.MSELoss),
            2: (skorch.NeuralNetBinaryClassifier, torch.nn.BCEWithLogitsLoss),
        }.get(workload.n_classes, (skorch.NeuralNetClassifier, torch.nn.CrossEntropyLoss))
        net = kind(
            self._module(),
            criterion=criterion,
            optimizer=optimizer,
            lr=LEARNING_RATE,
            max_epochs=n_epochs,
            batch_size=workload.batch_size,
            iterator_train__shuffle=True,
            train_split=None,
            callbacks="disable",
            verbose=0,
            **{f"optimizer__{key}": value for key, value in settings.items()},
        )
        y = self._y[:, None] if workload.n_classes == 0 else self._y
        start = time.perf_counter()
        net.fit(self._X, y)
        seconds = time.perf_counter() - start
        self._params = list(net.module_.parameters())
        return seconds, n_epochs

    def _module(self):
        torch = self._torch
        layers = []
        for weights, intercepts in initial_params(self.workload):
            layer = torch.nn.Linear(*weights.shape, dtype=self._X.dtype)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weights.T))
                layer.bias.copy_(torch.from_numpy(intercepts))
            layers += [layer, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])


def _adam(sqrt, n_steps, gradient, param, mean, square):
    mean = BETA_1 * mean + (1 - BETA_1) * gradient
    square = BETA_2 * square + (1 - BETA_2) * gradient * gradient
    rate = LEARNING_RATE * sqrt(1 - BETA_2**n_steps) / (1 - BETA_1**n_steps)
    return param - rate * mean / (sqrt(square) + EPSILON), mean, square


def _nesterov(sqrt, n_steps, gradient, param, velocity):
    velocity = MOMENTUM * velocity - LEARNING_RATE * gradient
    return param + MOMENTUM * velocity - LEARNING_RATE * gradient, velocity


# The update of one array in plain operators, for compiled peers, and its number of state arrays.
_RULES = {"adam": (_adam, 2), "sgd": (_nesterov, 1)}


def _lbfgs(loss_gradient, point, n_iterations):
    """Time SciPy's L-BFGS-B, which scikit-learn uses, on a peer's loss and gradient."""
    from scipy.optimize import minimize

    options = {"maxiter": n_iterations, "maxfun": 10**9, "gtol": 0}
    start = time.perf_counter()
    result = minimize(loss_gradient, point.astype(np.float64), method="L-BFGS-B", jac=True, options=options)
    seconds = time.perf_counter() - start
    loss_gradient(result.x)  # leaves the peer with the solution's weights
    return seconds, result.nit


PEERS = {peer.name: peer for peer in (Skbackprop, ScikitLearn, ScikitLearn64, Torch, TorchCompile, Jax, Skorch)}
