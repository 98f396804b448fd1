"""Multilayer perceptron regressor."""

from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from skbackprop._sklearn import StrOptions, _fit_context, _ravel
from skbackprop.estimators._base import BaseBackprop, has_partial_fit
from skbackprop.estimators._fit import Arguments
from skbackprop.estimators._targets import Numbers
from skbackprop.functions.links import REALS
from skbackprop.functions.losses import LOSSES, Loss, loss_link

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BackpropRegressor"]


class BackpropRegressor(RegressorMixin, BaseBackprop):
    r"""Multilayer perceptron regressor, trained by backpropagation in compiled code.

    A drop-in replacement for :class:`~sklearn.neural_network.MLPRegressor`: the same parameters with the same defaults,
    the same attributes and methods, and the same model for the same `random_state`. Minimizes the squared error or
    another `loss`, for one target or several. `X` may be dense or sparse; sparse data are not made dense. Scale the
    columns first, for example with :class:`~sklearn.preprocessing.StandardScaler`, and the targets, too, if they are
    far from the order of one (`standardize_target`).

    Parameters
    ----------
    loss : str or loss object, default='squared_error'
        Loss function, which also determines the link between the raw output z of the network and the prediction. A name
        stands for the object with default settings, ``'huber'`` for ``Huber()``; see :mod:`skbackprop.functions`:

        - 'squared_error': half the squared error, ``0.5 * (y - z) ** 2``; the prediction is z itself, a mean.
        - 'absolute_error': predicts the median.
        - 'huber', 'log_cosh': squared for small errors and absolute for large ones. For outliers.
        - 'quantile': predicts a quantile; ``Quantile([0.1, 0.5, 0.9])`` several at once, for prediction intervals.
        - 'poisson', 'gamma', 'tweedie': half the deviance (McCullagh and Nelder, 1989); the prediction is ``exp(z)``,
          always positive. For counts and rates, for positive amounts, and for amounts with many zeros. Targets outside
          the distribution's domain are an error.
        - 'gaussian_nll': predicts a mean and, with ``predict(X, return_std=True)``, a standard deviation (Nix and
          Weigend, 1994).

    hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
        Number of units of each hidden layer, from the inputs to the outputs; at least 1. An int means a single hidden
        layer, ``()`` none: a linear model. More units fit finer detail, and need more data or a larger `alpha`.

    activation : str, activation object or sequence of them, default='relu'
        Activation function of the hidden layers, or a sequence with one for each hidden layer; z is the weighted sum of
        a unit's inputs. A name stands for the object with default settings, ``'leaky_relu'`` for ``LeakyReLU()``; see
        :mod:`skbackprop.functions`:

        - 'relu': ``max(0, z)`` (Nair and Hinton, 2010). The cheapest, and does not saturate for large z.
        - 'leaky_relu', 'elu', 'selu', 'softplus': variants of it whose units cannot die, because the gradient is not
          zero on either side.
        - 'gelu', 'silu', 'mish': smooth, and slightly negative for moderately negative z. More expensive; worth trying
          in deep networks.
        - 'tanh', 'softsign', 'hard_tanh': between -1 and 1, and centered (LeCun et al., 1998). Worth trying in small
          networks and with ``solver='lbfgs'``.
        - 'logistic', 'hard_sigmoid': between 0 and 1 (Rumelhart, Hinton and Williams, 1986).
        - 'identity': ``z``. The network stays linear, however many layers it has.

    solver : str or optimizer object, default='adam'
        Optimizer of the weights. A name stands for the object with default settings, ``'adamw'`` for ``AdamW()``; only
        'sgd' and 'adam' take their settings from `momentum`, `nesterovs_momentum`, `beta_1`, `beta_2` and `epsilon`.
        See :mod:`skbackprop.functions`:

        - 'adam': stochastic gradient descent whose step is scaled for each weight by moving averages of the gradient's
          moments (Kingma and Ba, 2015). Needs the least tuning.
        - 'adamw', 'nadam', 'amsgrad', 'adamax': variants of it; 'adamw' has decoupled weight decay, which works better
          than `alpha` with 'adam' (Loshchilov and Hutter, 2019).
        - 'sgd': stochastic gradient descent with momentum (Sutskever et al., 2013). Can give a better model than 'adam'
          once `learning_rate_init` and `learning_rate` are tuned.
        - 'rmsprop', 'adagrad', 'adadelta', 'lion': other methods; 'adadelta' needs ``learning_rate_init=1.0``, 'lion'
          about 1e-4.
        - 'lbfgs': SciPy's L-BFGS-B (Byrd et al., 1995), a quasi-Newton method that uses all rows for each step. Often
          the best choice up to a few thousand rows. It has no mini-batches, no early stopping and no `partial_fit`.

    alpha : float, default=0.0001
        Strength of the penalty on the weights (not on the intercepts); non-negative. Raise it, by factors of ten, if
        the model is much better on the training data than on new data.

    batch_size : int or 'auto', default='auto'
        Number of rows of a mini-batch; at least 1. 'auto' means 200, or all training rows if there are fewer; a number
        larger than that of the rows is clipped with a warning. 1 is stochastic gradient descent in the strict sense,
        all rows plain gradient descent. Small batches make more updates per epoch, large ones use the processor better.
        Not used by 'lbfgs'.

    learning_rate : str or schedule object, default='constant'
        Learning rate schedule. A name stands for the object with default settings, ``'cosine'`` for ``Cosine()``, and
        each object has the setting `warmup_epochs`; see :mod:`skbackprop.functions`. The first three are scikit-learn's
        and, as there, have no effect on ``solver='adam'``, but the objects (``InverseScaling()``) do:

        - 'constant': the rate is always `learning_rate_init`.
        - 'invscaling': after each epoch the rate becomes ``learning_rate_init / (t + 1) ** power_t``, where t is the
          number of rows seen so far (compare Bottou, 2012). It falls steeply after the first epoch: start with a much
          larger rate, or lower `power_t`.
        - 'adaptive': the rate is divided by 5 on each plateau, when training would otherwise stop (see `tol`). Training
          stops when the rate has reached 1e-6.
        - 'reduce_on_plateau': the same, with settings.
        - 'step', 'exponential': the rate decays every few epochs, or a little with each update.
        - 'polynomial', 'cosine', 'flat_cosine', 'cosine_log', 'one_cycle': span `max_iter` epochs, and training runs to
          their end (see `n_iter_no_change`).

    learning_rate_init : float, default=0.001
        Initial learning rate; positive. The first parameter to tune for 'sgd' and 'adam': lower it if the loss jumps or
        becomes infinite, raise it if the loss falls slowly. Not used by 'lbfgs'.

    power_t : float, default=0.5
        Exponent of ``learning_rate='invscaling'``, non-negative.

    max_iter : int, default=200
        Maximum number of epochs (passes over the training rows), or of iterations with 'lbfgs'; at least 1. If training
        ends for this reason, it issues a `ConvergenceWarning`.

    shuffle : bool, default=True
        Whether to shuffle the rows in each epoch. Turn it off only if they are well mixed already, or if their order
        matters. Not used by 'lbfgs'.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights, the split of early stopping and the order of the rows, drawn in this sequence,
        and the dropout masks. Pass an int for reproducible results across calls.

    tol : float, default=0.0001
        Smallest improvement that counts; non-negative. Training stops after more than `n_iter_no_change` epochs in a
        row that lower the best training loss (with `early_stopping`: raise the best validation score) by less than
        this. With 'lbfgs', the solution is accepted when no component of the gradient is larger than this.

    verbose : bool or int, default=False
        Whether stochastic solvers print the loss of each epoch and, with `early_stopping`, the validation score.

    warm_start : bool, default=False
        Whether `fit` starts from the weights of the previous call instead of new ones. The layers of the network have
        to be the same. The optimizer state is reset; use `partial_fit` to keep it.

    momentum : float, default=0.9
        Momentum: fraction of the previous update that is added to this one; from 0 to 1. Used by 'sgd' only.

    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum, which evaluates the gradient as if after the momentum step (Sutskever et
        al., 2013) and so damps oscillations. Used by 'sgd' only, with ``momentum > 0``.

    early_stopping : bool, default=False
        Whether to set aside part of the training data as validation data, or to use the `X_val` of `fit`, and to stop
        when the validation score (R^2, or `scoring`) no longer improves. The model keeps the weights of the best score.
        The rows are drawn at random. For data sets large enough to spare those rows; not used by 'lbfgs', and not
        possible with `partial_fit`.

    validation_fraction : float or splitter, default=0.1
        The part that `early_stopping` sets aside. Not used if `fit` gets `X_val`.

        - A number is the fraction of the rows; at least 0, less than 1, and large enough for two rows.
        - A splitter of scikit-learn, such as :class:`~sklearn.model_selection.GroupShuffleSplit`; its first split is
          used. For rows that come in groups or are ordered in time, for which a random split would give optimistic
          scores. `fit` takes the `groups`. Rows in neither part are left out.

    beta_1 : float, default=0.9
        Decay of the exponential moving average of the gradient; at least 0, less than 1. Used by 'adam' only.

    beta_2 : float, default=0.999
        Decay of the exponential moving average of the squared gradient; at least 0, less than 1. Used by 'adam' only.

    epsilon : float, default=1e-8
        Added to the denominator of the step for numerical stability; positive. Used by 'adam' only. It is not
        bias-corrected, so it has more weight in the first updates than in PyTorch.

    n_iter_no_change : int or numpy.inf, default=10
        Patience: training stops after more than this number of epochs without an improvement by `tol`; at least 1,
        infinity for no such limit. Raise it if the loss is noisy. With a schedule that spans `max_iter` epochs, the
        default takes effect only with `early_stopping`, other values always. Not used by 'lbfgs'.

    max_fun : int, default=15000
        Maximum number of loss evaluations; at least 1. Each iteration takes one or more. Used by 'lbfgs' only.

    l1_ratio : float, default=0.0
        Mixing parameter of the L1 and L2 penalties, from 0 (L2) to 1 (L1), as in
        :class:`~sklearn.linear_model.ElasticNet` (Zou and Hastie, 2005): ``alpha * ((1 - l1_ratio) / 2 * sum(w ** 2) +
        l1_ratio * sum(abs(w)))``. The L1 penalty drives unneeded weights towards zero, but rarely to exactly zero.

    dropout : float or array-like of float of shape (n_layers - 1,), default=0.0
        Probability of zeroing a unit of a hidden layer, drawn anew for each row and update (Srivastava et al., 2014);
        at least 0, less than 1. A sequence gives the probability for the inputs first, then for each hidden layer. 0.2
        to 0.5 is usual for hidden layers of hundreds of units. The remaining units are scaled up, so that predictions
        need no correction. Not for 'lbfgs'.

    max_norm : float or None, default=None
        Maximum norm of the weights into a hidden unit; positive (Srivastava et al., 2014). Weights with a larger norm
        are scaled down after each update. None for no limit. Not for 'lbfgs'.

    clip_norm : float or None, default=None
        Maximum norm of the gradient over all parameters; positive. A larger gradient is scaled down (Pascanu, Mikolov
        and Bengio, 2013), which prevents jumps of the loss. None for no limit. Not for 'lbfgs'.

    clip_value : float or None, default=None
        Maximum absolute value of each component of the gradient; positive. Applied before `clip_norm`. None for no
        limit. Not for 'lbfgs'.

    averaging : float or None, default=None
        Decay of an exponential moving average of the parameters, between 0 and 1. It is updated after each step, and
        used for scores and predictions (Polyak and Juditsky, 1992). 0.99 averages over about the last hundred updates.
        None for no average. Not for 'lbfgs'.

    weight_init : str, estimator or tuple, default='auto'
        Initialization of the weights:

        - 'auto': as in scikit-learn, see Notes; or as `parametrization` has it.
        - 'glorot_uniform', 'glorot_normal': variance ``2 / (n_in + n_out)`` (Glorot and Bengio, 2010). For 'tanh'.
        - 'he_uniform', 'he_normal': variance ``2 / n_in`` (He et al., 2015). For 'relu' and its variants in deep
          networks.
        - 'lecun_uniform', 'lecun_normal': variance ``1 / n_in`` (LeCun et al., 1998). For 'selu'.
        - 'orthogonal': orthonormal rows or columns (Saxe, McClelland and Ganguli, 2014).
        - 'ntp': 'lecun_normal' with standard normal intercepts, and zeros in the last layer (Holzmüller, Grinsztajn and
          Steinwart, 2024).
        - a fitted estimator, wrapped in :class:`~sklearn.frozen.FrozenEstimator` if this one is to be cloned, or a
          tuple ``(coefs, intercepts)``: its weights, for fine-tuning. The shapes must be those of this network.

        Intercepts start at zero, except with 'auto', 'ntp' and given ones.

    output_bias : {'auto', 'prior'}, default='auto'
        Initialization of the output layer's intercepts: 'auto' follows `weight_init`; with 'prior', they give the mean
        of the targets, which saves the epochs that would only learn it. Matters for targets far from zero, and for
        losses with an exponential link.

    frozen_layers : array-like of int, default=()
        Layers whose weights and intercepts keep their initial values: 0 is the first layer after the inputs, -1 the
        last. Not for 'lbfgs'.

    normalization : {'batch', 'layer'}, normalization object or None, default=None
        Normalization of the pre-activations z of all hidden units to mean 0 and variance 1; each unit then has a
        trainable scale and offset. Networks of several hidden layers train faster with it, tolerate a larger
        `learning_rate_init`, and their gradients do not vanish. A name stands for the object with default settings,
        ``'batch'`` for ``BatchNormalization()``; see :mod:`skbackprop.functions`.

        - 'batch': over the rows of a mini-batch (Ioffe and Szegedy, 2015). Predictions use running means and variances.
          Needs batches of some dozens of rows; a batch of a single row is an error, or left out if it is the last of an
          epoch. Rows count equally, regardless of `sample_weight`. Not for 'lbfgs'.
        - 'layer': over the units of the layer, separately for each row (Ba, Kiros and Hinton, 2016). It does not depend
          on the batch, so it suits small ones. Needs layers of some dozens of units, at least two.

    scoring : str, callable or None, default=None
        Metric for the validation rows; greater is better. Used with `early_stopping`, or if `fit` gets `X_val`.

        - None: the estimator's own score, R^2.
        - 'loss': the negative validation loss, without the penalty. Finer than a score that counts or ranks, so it
          shows progress and overfitting earlier.
        - The name of a scikit-learn scorer, or a callable ``scorer(estimator, X, y)``, which gets the rows as `fit` got
          them, and the keyword ``sample_weight`` if there are weights. The names of losses start with 'neg', such as
          'neg_mean_absolute_error'.

        `tol` is in units of the score. HistGradientBoosting has the same choices.

    restore_best_weights : bool, default=False
        Whether to restore the weights of the best epoch at the end, without stopping earlier: the best by validation
        score if `fit` gets `X_val`, otherwise by training loss. `early_stopping` always does this; with it,
        ``n_iter_no_change=np.inf`` prevents stopping. For noisy training, for example with large learning rates. Not
        used by 'lbfgs', and not possible with `partial_fit`.

    standardize_target : bool, default=False
        Whether to train on ``(y - target_mean_) / target_scale_``, with the weighted mean and standard deviation of
        each column over the training rows of the first call; `predict` reverses the transformation. Initial weights and
        learning rates suit targets of the order of one: set it if yours are far from that, or if several targets differ
        in scale, so that the largest would dominate the loss. Losses (`loss_`, the curves, ``scoring='loss'``) and
        settings of the loss are in these units; scores are not. `warm_start` and `partial_fit` keep the statistics of
        the first call, so the first batch should be large and mixed. Not with a loss whose `out_activation_` is not the
        identity. :class:`~sklearn.compose.TransformedTargetRegressor` does the same from outside, but for `X_val`,
        `partial_fit` and weights.

    dtype : {'float32', 'float64'} or None, default=None
        Dtype of the weights, the arithmetic and the predictions. None keeps that of `X` if it is float32 or float64,
        and uses float64 otherwise. 'float32' converts `X`: half the memory, twice as many numbers in each vector
        instruction, about seven digits.

    precision : {'full', 'tf32'}, default='full'
        Precision of the matrix products of large layers on a GPU. 'full': in the dtype of the weights. 'tf32': on
        tensor cores, which are several times as fast; factors are rounded to a 10-bit mantissa, so that about three
        digits of each product are right, and sums are in float32. Needs float32 weights and a GPU of compute capability
        8.0 or later; small layers, and predictions on the CPU, are always 'full'.

    n_jobs : int or None, default=None
        Number of threads for training and prediction; not 0. None means as many as the work of a mini-batch can keep
        busy, which is one for small networks, and at most the number of physical cores; 1 is serial; -1 means all
        cores, with hyperthreads, -2 all but one. It is limited by the CPU affinity, the container's quota, the share of
        a joblib worker, ``NUMBA_NUM_THREADS`` and ``OMP_NUM_THREADS``. The result does not depend on it. In a search
        that runs in parallel itself, there is nothing to set.

    device : {'cpu', 'cuda', 'cuda:N', 'auto'}, default='cpu'
        Device of the computation: the CPU, an NVIDIA GPU ('cuda' is 'cuda:0'), which needs numba-cuda (``pip install
        "numba-cuda[cu13]"``), or, with 'auto', the GPU if there is one and enough work for it. If the GPU cannot be
        used, `fit` raises an error. On a machine without a GPU, a model trained on one predicts on the CPU.

    input_layers : str, InputLayer, sequence of them, or None, default=None
        Layers in front of the first dense one, which scale or encode the input columns one by one, with parameters of
        their own; see :mod:`skbackprop.functions`. 'scale' learns a scale of each column, 'periodic' puts sums of
        cosines beside each number, and ``CategoryEmbedding(columns, n_categories)`` turns codes of categories into
        vectors. A sequence is applied in its order, and columns are those that the layer before makes. They need dense
        `X`.

    parametrization : {'standard', 'ntp'}, default='standard'
        How the size of a layer changes its training. Not for 'lbfgs'.

        - 'standard': all parameters have the same learning rate.
        - 'ntp': the neural tangent parametrization (Jacot, Gabriel and Hongler, 2018), in which the weights of a layer
          count ``1 / sqrt(n_in)``, as RealMLP has it (Holzmüller, Grinsztajn and Steinwart, 2024): the same rate then
          suits layers of any width. It takes a large `learning_rate_init`, such as 0.04. The attributes are those of
          the standard network that computes the same, see Notes.

    dropout_schedule : str, schedule object or None, default=None
        Schedule of a factor from 1 down to 0 by which `dropout` is multiplied, as those of `learning_rate`:
        'flat_cosine' has the full dropout for half of `max_iter` and then less and less, as in RealMLP, so that the
        last updates see the network as it will predict. None for a constant dropout. Not used by 'lbfgs'.

    weight_decay_schedule : str, schedule object or None, default=None
        Schedule of a factor from 1 down to 0 by which the `weight_decay` of the optimizer is multiplied, besides the
        learning rate. None for a constant one. Used by 'adamw' and 'lion', which have one.

    parametric_activation : bool, default=False
        Whether each hidden unit mixes `activation` with the identity in a proportion of its own, which is trained:
        ``(1 - alpha) * z + alpha * f(z)``, from ``alpha = 1`` on. With 'relu', these are the rectifiers of a learned
        slope for negative z, 1 - alpha, that are known as PReLU (He et al., 2015); with any, the parametric activations
        of RealMLP (Holzmüller, Grinsztajn and Steinwart, 2024). `alpha`, weight decay and `max_norm` leave the
        proportions alone; with ``parametrization='ntp'`` they have a tenth of the learning rate.

    Attributes
    ----------
    coefs_ : list of ndarray of length n_layers - 1
        Weights. Entry i has shape (units of layer i, units of layer i + 1). Changing the arrays in place changes the
        model.

    intercepts_ : list of ndarray of length n_layers - 1
        Intercepts. Entry i has shape (units of layer i + 1,).

    input_params_ : list of ndarray of shape (n_params,)
        Parameters of each of the `input_layers`, column by column. Only with these.

    scales_, offsets_ : list of ndarray of length n_layers - 2
        Scales and offsets of the normalized pre-activations. Entry i has shape (units of hidden layer i,). Only with
        `normalization`.

    activation_alphas_ : list of ndarray of length n_layers - 2
        Proportions of the activation and the identity. Entry i has shape (units of hidden layer i,). Only with
        `parametric_activation`.

    running_means_, running_variances_ : list of ndarray of length n_layers - 2, float64
        Running means and variances of the pre-activations. Entry i has shape (units of hidden layer i,). Only with
        ``normalization='batch'``.

    loss_ : float
        Loss with penalty. For stochastic solvers, that of the last epoch: the mean over its mini-batches, weighted by
        their rows, each computed before the batch's update. For 'lbfgs', that of the solution.

    loss_curve_ : list of float
        `loss_` of each epoch; continued by `warm_start` and `partial_fit`. For stochastic solvers only.

    best_loss_ : float or None
        Smallest value in `loss_curve_`; None with `early_stopping`, where `best_validation_score_` replaces it. For
        stochastic solvers only.

    validation_scores_ : list of float or None
        Score on the validation rows after each epoch, by `scoring`; NaN if a prediction is not finite. None without
        `early_stopping` and `X_val`. For stochastic solvers only.

    validation_loss_curve_ : list of float or None
        Loss on the validation rows after each epoch, without the penalty; None without validation rows. It is computed
        with the weights at the end of the epoch, while `loss_curve_` averages over the epoch. For stochastic solvers
        only.

    best_validation_score_ : float or None
        Best of `validation_scores_`, which is that of the kept weights; None without validation scores. For stochastic
        solvers only.

    history_ : list of dict
        For each epoch, its number ('epoch'), 'loss', 'validation_loss' and 'validation_score' (None without validation
        data), 'learning_rate' (of the last update), and 'seconds', the time for training and validation. The time of a
        kernel call is divided evenly among its epochs; it is None in models loaded from files and pickles, which do not
        keep it. For the last mini-batch of the epoch, 'gradient_norm_0' and so on for each layer of weights: the norm
        of the gradient of the loss, without penalty and before clipping; and 'constant_units_0' and so on for each
        hidden layer: the fraction of units whose output is the same for all rows, which are dead or saturated.
        Continued by `warm_start` and `partial_fit`. ``pandas.DataFrame(model.history_)`` makes a table. For stochastic
        solvers only.

    device_ : str
        Device of the last call of `fit` or `partial_fit`: 'cpu', or 'cuda:0' and so on.

    n_iter_ : int
        Number of epochs, or of iterations with 'lbfgs', in the last call of `fit`; 1 after `partial_fit`.

    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of each target column; 1 for the deviation of a constant column. Only with
        `standardize_target`.

    n_layers_ : int
        Number of layers, including inputs and outputs.

    n_outputs_ : int
        Number of output units: one for each target, or for each of its quantiles; two with ``loss='gaussian_nll'``.

    out_activation_ : {'identity', 'exp'}
        Activation function of the output units, see Notes.

    t_ : int
        Number of training rows seen, each counted once per epoch; continued by `warm_start` and `partial_fit`. 0 with
        'lbfgs'.

    n_features_in_ : int
        Number of columns of `X` in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X` in `fit`. Only if `X` had column names that were all strings.

    See Also
    --------
    BackpropClassifier : The same network for classes.
    sklearn.neural_network.MLPRegressor : scikit-learn's own implementation.
    skbackprop.warmup : Compile the kernels ahead of the first fit.

    Notes
    -----
    A layer computes the pre-activations :math:`Z = A W + b` from the activations :math:`A` of the previous layer;
    hidden layers then apply `activation`.

    **Initialization.** With ``weight_init='auto'``, weights and intercepts of a layer are drawn uniformly from
    :math:`(-b, b)` with :math:`b = \sqrt{f / (n_\text{in} + n_\text{out})}`, where :math:`f = 2` for the logistic
    activation and 6 for the others (Glorot and Bengio, 2010, equation 16, who set the intercepts to zero).

    **Parametrization.** With ``parametrization='ntp'``, a layer computes :math:`Z = A V / \sqrt{n_\text{in}} + b` from
    weights :math:`V` and intercepts :math:`b` that are standard normal at first, and zero in the last layer; intercepts
    have a tenth of the learning rate. What is stored and updated is :math:`W = V / \sqrt{n_\text{in}}`, with the rate
    :math:`\eta / \sqrt{n_\text{in}}` (for 'sgd' :math:`\eta / n_\text{in}`) and an undiminished weight decay: the same
    training, apart from `epsilon`. Penalties and limits are those of :math:`W`. Another `weight_init` than 'auto'
    changes the initial values only.

    **Loss.** With sample weights :math:`s_i`, their sum :math:`S` (the number of rows without weights), :math:`K`
    targets and the raw outputs :math:`z_i`, the squared error has the identity as `out_activation_` and

    .. math::
        L = \frac{1}{2 K S} \sum_i s_i \sum_k (y_{ik} - z_{ik})^2;

    'poisson' has :math:`\hat y_{ik} = e^{z_{ik}}` and

    .. math::
        L = \frac{1}{S} \sum_i s_i \sum_k \left[ y_{ik} \ln (y_{ik} / \hat y_{ik}) - y_{ik} + \hat y_{ik} \right]

    (McCullagh and Nelder, 1989). As in scikit-learn, the gradient of the squared error is that of the sum over the
    targets, :math:`K` times that of the mean, which `loss_` reports; the penalty is therefore weaker than in the
    formula by this factor. For the formulas of the other losses, see their classes in :mod:`skbackprop.functions`.

    **Normalization.** With the mean :math:`\mu` and the variance :math:`\sigma^2` (divided by the count, not by one
    less), over the mini-batch or over the layer, :math:`z` becomes :math:`\gamma (z - \mu) / \sqrt{\sigma^2 + \epsilon}
    + \beta`, with :math:`\gamma = 1` and :math:`\beta = 0` at first. Both are trained without penalty. With 'batch',
    the intercepts have no effect and keep their initial values. After each mini-batch, number :math:`t` counted from 0,
    the running mean and variance :math:`r` become :math:`(1 - a) r + a x` with :math:`a = \max(1 - m, 1 / (t + 1))`,
    where :math:`m` is the momentum and :math:`x` the batch's mean or unbiased variance.

    **Penalty.** :math:`\frac{\alpha}{S} \sum_l \left( \frac{1 - r}{2} \lVert W_l \rVert_F^2 + r \lVert W_l \rVert_1
    \right)`, where :math:`r` is `l1_ratio`. With mini-batches, :math:`S` is that of the batch, so the same `alpha`
    penalizes more with smaller batches. A batch whose weights are all zero is skipped.

    **Updates.** With gradient :math:`g` and rate :math:`\eta`: for 'sgd' :math:`v \leftarrow \mu v - \eta g`, then
    :math:`w \leftarrow w + v`, or with Nesterov's momentum :math:`w \leftarrow w + \mu v - \eta g`. For 'adam', with
    the decays :math:`\beta_1, \beta_2` for the means :math:`m` of :math:`g` and :math:`v` of :math:`g^2`, step
    :math:`t` is :math:`w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} + \epsilon}`.
    For the other solvers, see their classes in :mod:`skbackprop.functions`.

    **Reproducibility.** With an int `random_state`, the same data and parameters give bitwise identical results for any
    number of threads, in every process on the same kind of processor. In float64, the random numbers are those of
    :class:`~sklearn.neural_network.MLPRegressor` and the results agree with its own up to rounding; `lbfgs` amplifies
    rounding from iteration to iteration, so that long runs may end at another point. The documentation lists the
    intended differences under "Differences from MLPClassifier".

    Ctrl-C ends training with a warning and leaves a usable estimator. If the loss or a weight is no longer finite,
    training ends in that epoch: with an error, or, if the weights of a best epoch are kept, with a warning. The first
    fit after installation compiles the kernels; see :func:`~skbackprop.warmup`.

    References
    ----------
    * J. L. Ba, J. R. Kiros and G. E. Hinton (2016). Layer normalization. https://arxiv.org/abs/1607.06450
    * L. Bottou (2012). Stochastic gradient descent tricks. In Neural Networks: Tricks of the Trade, 2nd edition.
      Springer.
    * R. H. Byrd, P. Lu, J. Nocedal and C. Zhu (1995). A limited memory algorithm for bound constrained optimization.
      SIAM Journal on Scientific Computing 16, 1190-1208.
    * X. Glorot and Y. Bengio (2010). Understanding the difficulty of training deep feedforward neural networks.
      AISTATS.
    * K. He, X. Zhang, S. Ren and J. Sun (2015). Delving deep into rectifiers: surpassing human-level performance on
      ImageNet classification. ICCV. https://arxiv.org/abs/1502.01852
    * D. Holzmüller, L. Grinsztajn and I. Steinwart (2024). Better by default: strong pre-tuned MLPs and boosted trees
      on tabular data. NeurIPS. https://arxiv.org/abs/2407.04491
    * S. Ioffe and C. Szegedy (2015). Batch normalization: accelerating deep network training by reducing internal
      covariate shift. ICML. https://arxiv.org/abs/1502.03167
    * A. Jacot, F. Gabriel and C. Hongler (2018). Neural tangent kernel: convergence and generalization in neural
      networks. NeurIPS. https://arxiv.org/abs/1806.07572
    * D. P. Kingma and J. Ba (2015). Adam: a method for stochastic optimization. ICLR. https://arxiv.org/abs/1412.6980
    * Y. LeCun, L. Bottou, G. B. Orr and K.-R. Müller (1998). Efficient BackProp. In Neural Networks: Tricks of the
      Trade. Springer.
    * I. Loshchilov and F. Hutter (2019). Decoupled weight decay regularization. ICLR. https://arxiv.org/abs/1711.05101
    * P. McCullagh and J. A. Nelder (1989). Generalized Linear Models, 2nd edition. Chapman and Hall. Section 2.3.
    * V. Nair and G. E. Hinton (2010). Rectified linear units improve restricted Boltzmann machines. ICML.
    * D. A. Nix and A. S. Weigend (1994). Estimating the mean and variance of the target probability distribution. IEEE
      International Conference on Neural Networks.
    * R. Pascanu, T. Mikolov and Y. Bengio (2013). On the difficulty of training recurrent neural networks. ICML.
      https://arxiv.org/abs/1211.5063
    * B. T. Polyak and A. B. Juditsky (1992). Acceleration of stochastic approximation by averaging. SIAM Journal on
      Control and Optimization 30, 838-855.
    * D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986). Learning representations by back-propagating errors.
      Nature 323, 533-536.
    * A. M. Saxe, J. L. McClelland and S. Ganguli (2014). Exact solutions to the nonlinear dynamics of learning in deep
      linear neural networks. ICLR. https://arxiv.org/abs/1312.6120
    * N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov (2014). Dropout: a simple way to
      prevent neural networks from overfitting. Journal of Machine Learning Research 15, 1929-1958.
    * I. Sutskever, J. Martens, G. Dahl and G. Hinton (2013). On the importance of initialization and momentum in deep
      learning. ICML.
    * H. Zou and T. Hastie (2005). Regularization and variable selection via the elastic net. Journal of the Royal
      Statistical Society B 67, 301-320.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbackprop import BackpropRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = make_pipeline(
    ...     StandardScaler(),
    ...     BackpropRegressor(
    ...         hidden_layer_sizes=(16,), batch_size=32, learning_rate_init=0.01, early_stopping=True, random_state=0
    ...     ),
    ... )
    >>> round(model.fit(X_train, y_train).score(X_test, y_test), 2)
    0.32
    >>> model.predict(X_test[:3]).shape
    (3,)
    >>> model[-1].best_validation_score_ == max(model[-1].validation_scores_)
    True
    """

    # For type checkers only: fitting sets them.
    target_mean_: np.ndarray
    target_scale_: np.ndarray

    _parameter_constraints: dict[Any, Any] = {
        **BaseBackprop._parameter_constraints,
        "standardize_target": ["boolean"],
        "loss": [StrOptions({name for name, kind in LOSSES.items() if "regression" in kind.kinds()}), Loss],
    }
    _numeric_targets = True

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: Any = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        l1_ratio: float = 0.0,
        dropout: Any = 0.0,
        max_norm: float | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        averaging: float | None = None,
        weight_init: str | tuple[Any, ...] = "auto",
        output_bias: str = "auto",
        frozen_layers: Any = (),
        normalization: Any = None,
        scoring: str | Callable | None = None,
        restore_best_weights: bool = False,
        standardize_target: bool = False,
        dtype: str | None = None,
        precision: str = "full",
        n_jobs: int | None = None,
        device: str = "cpu",
        input_layers: str | None = None,
        parametrization: str = "standard",
        dropout_schedule: str | None = None,
        weight_decay_schedule: str | None = None,
        parametric_activation: bool = False,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.l1_ratio = l1_ratio
        self.dropout = dropout
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.averaging = averaging
        self.weight_init = weight_init
        self.output_bias = output_bias
        self.frozen_layers = frozen_layers
        self.normalization = normalization
        self.scoring = scoring
        self.restore_best_weights = restore_best_weights
        self.standardize_target = standardize_target
        self.dtype = dtype
        self.precision = precision
        self.n_jobs = n_jobs
        self.device = device
        self.input_layers = input_layers
        self.parametrization = parametrization
        self.dropout_schedule = dropout_schedule
        self.weight_decay_schedule = weight_decay_schedule
        self.parametric_activation = parametric_activation

    def _advice(self, parameter, value):
        if parameter == "loss" and isinstance(value, Integral | list | tuple | np.ndarray):
            # As in scikit-learn, the classifier's first argument is hidden_layer_sizes.
            return f"The first argument of {type(self).__name__} is loss: did you mean hidden_layer_sizes={value!r}?"
        return super()._advice(parameter, value)

    @property
    def _targets(self):
        known = vars(self).get
        return Numbers(self.loss, self.standardize_target, known("target_mean_"), known("target_scale_"))

    def _read_targets(self, y, first_pass, memory, incremental, classes, workers):
        loss = self._loss()
        if self.standardize_target and loss_link(type(loss)).domain != REALS:
            raise ValueError(
                f"standardize_target=True needs a loss whose predictions may be any number, but loss={self.loss!r} has "
                f"out_activation_={loss.out_activation!r}; set standardize_target=False"
            )
        if not first_pass and self.standardize_target != hasattr(self, "target_scale_"):
            raise ValueError(
                f"standardize_target={self.standardize_target} is not what the network was fitted with, and warm_start and "
                "partial_fit go on in the same units: call fit with warm_start=False to start anew"
            )
        targets = Numbers(self.loss, self.standardize_target) if first_pass else self._targets
        return targets, targets.read(y, "y")

    def _loss(self):
        return LOSSES.get_function(self.loss)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        loss = self._loss() if isinstance(self.loss, Loss) or self.loss in LOSSES else None
        tags.target_tags.positive_only = loss is not None and loss.lower >= 0
        return tags

    @available_if(has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Self":
        """Train for one epoch on the given data, starting from the current weights if there are any.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative sample weights; None for equal weights.

        Returns
        -------
        self : object
            The estimator after the epoch.

        Raises
        ------
        TypeError
            If `X`, `y` or `sample_weight` is a masked array.
        ValueError
            If an argument is invalid, with `early_stopping` or `restore_best_weights`, or if training diverges.
        """
        return self._fit(Arguments(X, y, sample_weight), incremental=True)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.
        return_std : bool, default=False
            Whether to also return the standard deviations, which ``loss='gaussian_nll'`` learns.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, in the model's dtype. With several quantiles, the first columns are those of the first target,
            and so on.
        y_std : ndarray of the same shape
            Standard deviations. Only with `return_std`.

        Raises
        ------
        ValueError
            With `return_std`, if the loss has no standard deviation.
        """
        if return_std and not self._loss().has_std:
            raise ValueError(f"return_std=True needs loss='gaussian_nll', which learns a spread; loss is {self.loss!r}")
        targets, predictions = self._predict(X)
        if self._means_other_outputs(targets):
            raise ValueError(
                f"loss={self.loss!r} is not what the network was fitted with, and its outputs mean something else"
            )
        predictions = targets.decode(predictions)
        if targets.function.has_std:
            means, deviations = (_squeezed(part) for part in (predictions[:, 0::2], predictions[:, 1::2]))
            return _WithSpread((means, deviations)) if return_std else means
        return _squeezed(predictions)

    @np.errstate(under="ignore")
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the coefficient of determination R^2; with several quantiles, of the one closest to the median.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
        """
        # Calls `predict`, which a subclass may override.
        predictions, targets = self.predict(X), self._targets
        if predictions.ndim == 2 and predictions.shape[1] == self.n_outputs_ and not targets.function.has_std:
            predictions = _squeezed(targets.points(predictions))
        return r2_score(y, predictions, sample_weight=sample_weight)


class _WithSpread(tuple):
    """Means and standard deviations; explains to TransformedTargetRegressor that they are not a single array."""

    __slots__ = ()

    @property
    def ndim(self) -> Any:
        raise AttributeError(
            "predict(return_std=True) gives a tuple of means and standard deviations, which cannot be transformed as one array: in "
            "the place of TransformedTargetRegressor use standardize_target=True"
        )


def _squeezed(columns):
    if columns.shape[1] > 1:
        return columns
    return columns.reshape(-1) if type(columns) is np.ndarray else _ravel(columns)
