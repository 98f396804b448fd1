"""The regressor."""

from numbers import Integral

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils._array_api import _ravel
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from skbackprop.estimators._base import BaseBackprop, has_partial_fit
from skbackprop.estimators._fit import Arguments
from skbackprop.estimators._targets import Numbers
from skbackprop.functions.losses import LOSSES, Loss

__all__ = ["BackpropRegressor"]


class BackpropRegressor(RegressorMixin, BaseBackprop):
    r"""Multilayer perceptron regressor, trained by backpropagation in compiled code.

    Takes the place of :class:`~sklearn.neural_network.MLPRegressor`: the same parameters with the same defaults, the
    same attributes and methods, and the same model for the same `random_state`. Minimises the squared error or
    another `loss`, for one target or several. `X` may be dense or sparse; sparse data are not made dense. Scale the columns
    first, for example with :class:`~sklearn.preprocessing.StandardScaler`, and the targets, too, if they are far from the
    order of one (`standardize_target`).

    Parameters
    ----------
    loss : str or loss object, default='squared_error'
        What is minimised, together with the link between the network's raw output z and the prediction. A name stands for the
        object with default settings, ``'huber'`` for ``Huber()``; see :mod:`skbackprop.functions`:

        - 'squared_error': half the squared error, ``0.5 * (y - z) ** 2``; the prediction is z itself, a mean.
        - 'absolute_error': predicts the median.
        - 'huber', 'log_cosh': squared for small errors and absolute for large ones. For outliers.
        - 'quantile': predicts a quantile; ``Quantile([0.1, 0.5, 0.9])`` several at once, for prediction intervals.
        - 'poisson', 'gamma', 'tweedie': half the deviance (McCullagh and Nelder, 1989); the prediction is ``exp(z)``, always
          positive. For counts and rates, for positive amounts, and for amounts with many zeros. Targets outside the
          distribution's domain are an error.
        - 'gaussian_nll': predicts a mean and, with ``predict(X, return_std=True)``, a standard deviation (Nix and Weigend,
          1994).

    hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
        Units of the hidden layers, in order from the inputs to the outputs; each at least 1. An int is short for a
        single hidden layer, ``()`` means none: a linear model. More units fit finer detail, and want more data or a
        larger `alpha`.

    activation : str, activation object or sequence of them, default='relu'
        What a hidden unit makes of the weighted sum z of its inputs: for all hidden layers, or a sequence with one for
        each. A name stands for the object with default settings, ``'leaky_relu'`` for ``LeakyReLU()``; see
        :mod:`skbackprop.functions`:

        - 'relu': ``max(0, z)`` (Nair and Hinton, 2010). Cheapest, and does not flatten out for large z.
        - 'leaky_relu', 'elu', 'selu', 'softplus': like it, but no unit dies, because there is a slope on both sides.
        - 'gelu', 'silu', 'mish': smooth, and slightly negative for moderately negative z. Dearer; worth a try in deep
          networks.
        - 'tanh', 'softsign', 'hard_tanh': between -1 and 1 and centred (LeCun et al., 1998). Worth a try for small networks
          and with ``solver='lbfgs'``.
        - 'logistic', 'hard_sigmoid': between 0 and 1 (Rumelhart, Hinton and Williams, 1986).
        - 'identity': ``z``. The network stays linear, however many layers it has.

    solver : str or optimizer object, default='adam'
        How the weights are found. A name stands for the object with default settings, ``'adamw'`` for ``AdamW()``; only 'sgd'
        and 'adam' take theirs from `momentum`, `nesterovs_momentum`, `beta_1`, `beta_2` and `epsilon`. See
        :mod:`skbackprop.functions`:

        - 'adam': mini-batch steps scaled for each weight by running moments of its gradient (Kingma and Ba, 2015).
          Needs the least tuning.
        - 'adamw', 'nadam', 'amsgrad', 'adamax': variants of it; 'adamw' shrinks the weights apart from the gradient, which
          works better than `alpha` together with 'adam' (Loshchilov and Hutter, 2019).
        - 'sgd': mini-batch steps along the gradient, with momentum (Sutskever et al., 2013). Can end in a better model
          than 'adam' once `learning_rate_init` and `learning_rate` have been tuned.
        - 'rmsprop', 'adagrad', 'adadelta', 'lion': others; 'adadelta' wants ``learning_rate_init=1.0``, 'lion' about 1e-4.
        - 'lbfgs': SciPy's L-BFGS-B (Byrd et al., 1995), a quasi-Newton method that uses all rows for each step. Often
          the best choice up to a few thousand rows. It has no mini-batches, no early stopping and no `partial_fit`.

    alpha : float, default=0.0001
        Strength of the penalty on the weights (not on the intercepts); non-negative. Raise it, by factors of ten,
        when the model does much better on the training data than on new data.

    batch_size : int or 'auto', default='auto'
        Rows of a mini-batch, at least 1. 'auto' takes 200, or all training rows if they are fewer; a larger number
        than there are rows is cut down with a warning. 1 is stochastic gradient descent in the strict sense, all rows
        plain gradient descent. Small batches make more steps an epoch, large ones use the processor better. Not used
        by 'lbfgs'.

    learning_rate : str or schedule object, default='constant'
        How the step size develops. A name stands for the object with default settings, ``'cosine'`` for ``Cosine()``, and each
        object takes `warmup_epochs`; see :mod:`skbackprop.functions`. The first three come from scikit-learn and have, as
        there, no effect on ``solver='adam'``; give an object (``InverseScaling()``) where they should:

        - 'constant': it stays at `learning_rate_init`.
        - 'invscaling': after each epoch it becomes ``learning_rate_init / (t + 1) ** power_t``, where t counts the
          rows seen so far (compare Bottou, 2012). It thus falls steeply after the first epoch: start with a much
          larger rate, or lower `power_t`.
        - 'adaptive': it is divided by 5 whenever training would have stopped for want of improvement (see `tol`), and
          training stops when it has come down to 1e-6.
        - 'reduce_on_plateau': the same with settings.
        - 'step', 'exponential': it is divided every few epochs, or a little at each step.
        - 'polynomial', 'cosine', 'one_cycle': laid out over `max_iter` epochs, and training runs to their end (see
          `n_iter_no_change`).

    learning_rate_init : float, default=0.001
        Step size at the start; positive. The first parameter to tune for 'sgd' and 'adam': lower it if the loss jumps
        about or becomes infinite, raise it if the loss falls slowly. Not used by 'lbfgs'.

    power_t : float, default=0.5
        Exponent of ``learning_rate='invscaling'``, non-negative.

    max_iter : int, default=200
        Largest number of epochs (passes over the training rows), or of iterations with 'lbfgs'; at least 1. If
        training ends for this reason, a `ConvergenceWarning` says so.

    shuffle : bool, default=True
        Whether each epoch takes the rows in a new random order. Turn it off only if they are well mixed already, or if
        their order matters. Not used by 'lbfgs'.

    random_state : int, RandomState instance or None, default=None
        Source of the initial weights, of early stopping's split and of the order of the rows, drawn in this sequence, and of
        the units that `dropout` leaves out. Pass an int for the same model at each call.

    tol : float, default=0.0001
        Smallest improvement that counts; non-negative. Training stops after more than `n_iter_no_change` epochs in a
        row that lower the best training loss (with `early_stopping`: raise the best validation score) by less than
        this. With 'lbfgs', the largest component of the gradient at which the solution is accepted.

    verbose : bool or int, default=False
        Whether stochastic solvers print the loss of each epoch, and with `early_stopping` the validation score.

    warm_start : bool, default=False
        Whether `fit` starts from the weights of the call before instead of new ones. The network's layers have to be
        the same. The optimizer's own state starts anew; use `partial_fit` to keep it.

    momentum : float, default=0.9
        Share of the last step that is repeated in the next; from 0 to 1. Used by 'sgd' only.

    nesterovs_momentum : bool, default=True
        Whether the gradient counts as if taken after the momentum step (Sutskever et al., 2013), which damps
        oscillations. Used by 'sgd' only, with ``momentum > 0``.

    early_stopping : bool, default=False
        Whether to put part of the training data aside, or to take the `X_val` of `fit`, and to stop when the score on it
        (R^2, or that of `scoring`) no longer improves. The model keeps the weights of the best score. The rows are
        drawn at random. For data sets large enough to do without those rows; not used by 'lbfgs', and not possible
        with `partial_fit`.

    validation_fraction : float or splitter, default=0.1
        What `early_stopping` puts aside. Not used where `fit` is given `X_val`.

        - A number is the share of the rows; at least 0, less than 1, and large enough for two rows.
        - One of scikit-learn's splitters, such as :class:`~sklearn.model_selection.GroupShuffleSplit`, of which the
          first split is used. For rows that depend on each other, in groups or in time: a random split would give
          scores that are too good. `fit` takes the `groups`. Rows in neither part are left out.

    beta_1 : float, default=0.9
        Decay of the running mean of the gradient; at least 0, less than 1. Used by 'adam' only.

    beta_2 : float, default=0.999
        Decay of the running mean of the squared gradient; at least 0, less than 1. Used by 'adam' only.

    epsilon : float, default=1e-8
        Added to the divisor of the step, so that it is never zero; positive. Used by 'adam' only. It is not corrected
        for bias, so it weighs more in the first steps than PyTorch's does.

    n_iter_no_change : int or numpy.inf, default=10
        Epochs without an improvement by `tol` that are tolerated; at least 1, infinity for no such limit. Raise it if
        the loss is noisy. A schedule that is laid out over `max_iter` epochs runs to its end with the default, which stops it only
        with `early_stopping`; any other value does. Not used by 'lbfgs'.

    max_fun : int, default=15000
        Largest number of evaluations of the loss; at least 1, and each iteration takes one or more. Used by 'lbfgs'
        only.

    l1_ratio : float, default=0.0
        Share of the absolute values of the weights in the penalty, from 0 to 1, as in
        :class:`~sklearn.linear_model.ElasticNet` (Zou and Hastie, 2005): ``alpha * ((1 - l1_ratio) / 2 * sum(w ** 2) + l1_ratio * sum(abs(w)))``.
        Absolute values drive weights that are not needed towards zero, but rarely to zero itself.

    dropout : float or array-like of float of shape (n_layers - 1,), default=0.0
        Share of the units of each hidden layer that is left out at random, for each row and step anew (Srivastava et al.,
        2014); at least 0, less than 1. A sequence gives the share of the inputs first and then that of each hidden layer.
        0.2 to 0.5 is usual for hidden layers of hundreds of units. The others are scaled up, so that predictions need nothing.
        Not for 'lbfgs'.

    max_norm : float or None, default=None
        Largest norm of the weights into a hidden unit, positive (Srivastava et al., 2014); larger ones are scaled down after
        each step. None for no limit. Not for 'lbfgs'.

    clip_norm : float or None, default=None
        Largest norm of the gradient of all parameters together, positive; a larger one is scaled down (Pascanu, Mikolov and
        Bengio, 2013). Against leaps of the loss. None for no limit. Not for 'lbfgs'.

    clip_value : float or None, default=None
        Largest size of each component of the gradient, positive; applied before `clip_norm`. None for no limit. Not for
        'lbfgs'.

    averaging : float or None, default=None
        Decay of an exponential moving average of the parameters, between 0 and 1, which is kept after each step, and which
        scores and predictions use (Polyak and Juditsky, 1992). 0.99 averages over about the last hundred steps. None for no
        average. Not for 'lbfgs'.

    weight_init : str, estimator or tuple, default='auto'
        Where the weights start from:

        - 'auto': as in scikit-learn, see Notes.
        - 'glorot_uniform', 'glorot_normal': variance ``2 / (n_in + n_out)`` (Glorot and Bengio, 2010). For 'tanh'.
        - 'he_uniform', 'he_normal': variance ``2 / n_in`` (He et al., 2015). For 'relu' and its kin in deep networks.
        - 'lecun_uniform', 'lecun_normal': variance ``1 / n_in`` (LeCun et al., 1998). For 'selu'.
        - 'orthogonal': orthonormal rows or columns (Saxe, McClelland and Ganguli, 2014).
        - a fitted estimator, wrapped in :class:`~sklearn.frozen.FrozenEstimator` if this one is to be cloned, or a tuple
          ``(coefs, intercepts)``: its weights, for fine-tuning. The shapes must be those of this network.

        Intercepts start at zero, except with 'auto' and given ones.

    output_bias : {'auto', 'prior'}, default='auto'
        What the output layer's intercepts start from: 'auto' follows `weight_init`; with 'prior', they give the mean of the
        targets, which spares the first epochs: they would learn just this. Matters for targets far from zero, and for losses
        that predict by an exponential.

    frozen_layers : array-like of int, default=()
        Layers whose weights and intercepts stay as they were initialised: 0 is the one after the inputs, -1 the last. Not
        for 'lbfgs'.

    normalization : {'batch', 'layer'}, normalization object or None, default=None
        How the weighted inputs z of all hidden units are brought to mean 0 and variance 1 before the activation; each unit then
        has a scale and an offset, which are trained. For networks of several hidden layers, which it lets train faster, with
        larger `learning_rate_init`, and where gradients would otherwise vanish. A name stands for the object with default
        settings, ``'batch'`` for ``BatchNormalization()``; see :mod:`skbackprop.functions`.

        - 'batch': over the rows of a mini-batch (Ioffe and Szegedy, 2015). Predictions use running means and variances. Wants
          batches of some dozens of rows; one of a single row is an error, or left out if it is the last of an epoch. Rows
          count alike whatever their `sample_weight`. Not for 'lbfgs'.
        - 'layer': over the units of the layer, for each row by itself (Ba, Kiros and Hinton, 2016). Nothing depends on the
          batch, so it suits small ones. Wants layers of some dozens of units, at least two.

    scoring : str, callable or None, default=None
        What validation rows are scored by; greater is better. Used with `early_stopping`, or where `fit` is given `X_val`.

        - None: the estimator's own score, R^2.
        - 'loss': minus the validation loss, which is the loss without the penalty. Finer than a score that counts or
          ranks, so it sees progress and overfitting earlier.
        - The name of one of scikit-learn's scorers, or a callable ``scorer(estimator, X, y)``, which gets the rows as
          `fit` got them, and ``sample_weight`` as a keyword where there are weights. Losses among the names have a
          minus sign in them: 'neg_mean_absolute_error'.

        `tol` is in the score's units. HistGradientBoosting has the same choices.

    restore_best_weights : bool, default=False
        Whether the fitted model has the weights of the best epoch instead of those of the last, without stopping any
        earlier: the best by validation score where `fit` is given `X_val`, otherwise by training loss. With
        `early_stopping` that is so anyhow; ``n_iter_no_change=np.inf`` then keeps it from stopping. For noisy training,
        for example with large learning rates. Not used by 'lbfgs', and not possible with `partial_fit`.

    standardize_target : bool, default=False
        Whether to train on ``(y - target_mean_) / target_scale_``, each column with the weighted mean and standard
        deviation of the rows that the first call trains on; `predict` turns back. Initial weights and rates suit
        targets of the order of one: set it if yours are far from that, or if several targets differ in size, which
        would let the largest rule the loss. Losses, `loss_`, those of the curves and of ``scoring='loss'``, are in these
        units, and settings of the loss refer to them; scores are not. `warm_start` and `partial_fit` keep the first
        call's numbers, so a first batch should be large and mixed. Not with a loss whose `out_activation_` is not the
        identity. :class:`~sklearn.compose.TransformedTargetRegressor` does the same from outside, but for `X_val`,
        `partial_fit` and weights.

    dtype : {'float32', 'float64'} or None, default=None
        Type of the weights, the arithmetic and the predictions. None keeps that of `X` if it is float32 or float64,
        and takes float64 for everything else. 'float32' converts `X`: half the memory, twice as many numbers in each
        vector instruction, about seven digits.

    precision : {'full', 'tf32'}, default='full'
        How the products of large layers are computed on a GPU. 'full': in the type of the weights. 'tf32': on tensor cores,
        which are several times as fast; factors are rounded to 10 bits of fraction, so that about three digits of each
        product are right, and sums are in float32. Needs float32 weights and a GPU of compute capability 8.0 or later;
        small layers, and predictions on the CPU, are always 'full'.

    n_jobs : int or None, default=None
        Threads for training and prediction; not 0. None takes as many as a mini-batch's work can keep busy, which is
        one for small networks, and not more than there are physical cores; 1 is serial; -1 means all cores, with
        hyperthreads, -2 all but one. Never more are used than the process may have by its affinity, its container's
        quota, its share as a joblib worker, ``NUMBA_NUM_THREADS`` and ``OMP_NUM_THREADS``. The result does not depend
        on it. In a search that itself runs in parallel there is nothing to set.

    device : {'cpu', 'cuda', 'cuda:N', 'auto'}, default='cpu'
        Where the arithmetic runs: on the CPU, on an NVIDIA GPU ('cuda' is 'cuda:0'), which takes ``pip install
        "skbackprop[cuda]"``, or, for 'auto', on the GPU if there is one and enough work for it. A GPU that cannot be used is
        an error of `fit`. Predictions of a model that was trained on one run on the CPU where there is none.

    Attributes
    ----------
    coefs_ : list of ndarray of length n_layers - 1
        Weights. Entry i has shape (units of layer i, units of layer i + 1). Changing the arrays in place changes the
        model.

    intercepts_ : list of ndarray of length n_layers - 1
        Intercepts. Entry i has shape (units of layer i + 1,).

    scales_, offsets_ : list of ndarray of length n_layers - 2
        What normalized inputs are multiplied by, and what is then added. Entry i has shape (units of hidden layer i,). Only
        with `normalization`.

    running_means_, running_variances_ : list of ndarray of length n_layers - 2, float64
        Running means and variances of the weighted inputs. Entry i has shape (units of hidden layer i,). Only with
        ``normalization='batch'``.

    loss_ : float
        Loss with penalty. For stochastic solvers that of the last epoch: the mean over its rows of their mini-batches'
        losses, each taken before the batch's own step. For 'lbfgs' that of the solution.

    loss_curve_ : list of float
        `loss_` of every epoch; goes on with `warm_start` and `partial_fit`. For stochastic solvers only.

    best_loss_ : float or None
        Smallest value in `loss_curve_`; None with `early_stopping`, where `best_validation_score_` takes its place.
        For stochastic solvers only.

    validation_scores_ : list of float or None
        Score of the validation rows after every epoch, by `scoring`; NaN if a prediction is not finite. None without
        `early_stopping` and `X_val`. For stochastic solvers only.

    validation_loss_curve_ : list of float or None
        Loss on the same rows after every epoch, without the penalty; None where there are none. Each is that of the
        weights at the epoch's end, whereas `loss_curve_` averages over the epoch. For stochastic solvers only.

    best_validation_score_ : float or None
        Best of `validation_scores_`, that of the weights which were kept; None where there are none. For
        stochastic solvers only.

    history_ : list of dict
        For every epoch its number ('epoch'), 'loss', 'validation_loss' and 'validation_score' (None where there is no
        validation data), 'learning_rate', that of its last step, and 'seconds', the time for training and validation;
        epochs that were run in one call of the kernels share theirs evenly, and files and pickles do not keep it: it is None
        then. Of its last mini-batch 'gradient_norm_0' and so
        on for each layer of weights: the norm of the loss's gradient, without penalty and before clipping; and
        'constant_units_0' and so on for each hidden layer: the share of units whose output is the same for all rows, dead
        or saturated ones. Goes on with `warm_start` and `partial_fit`.
        ``pandas.DataFrame(model.history_)`` makes a table. For stochastic solvers only.

    device_ : str
        Where the last call of `fit` or `partial_fit` ran: 'cpu', or 'cuda:0' and so on.

    n_iter_ : int
        Epochs, or iterations of 'lbfgs', in the last call of `fit`; 1 after `partial_fit`.

    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        What `standardize_target` subtracts and divides by; a constant column is divided by 1. Only with it.

    n_layers_ : int
        Layers of units, inputs and outputs included.

    n_outputs_ : int
        Units of the output layer: one for each target, or for each of its quantiles; two with ``loss='gaussian_nll'``.

    out_activation_ : {'identity', 'exp'}
        Function of the output units, see Notes.

    t_ : int
        Training rows seen, each counted once an epoch; goes on with `warm_start` and `partial_fit`. 0 with 'lbfgs'.

    n_features_in_ : int
        Columns of the `X` seen by `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of these columns. Only if `X` had names, and all of them were strings.

    See Also
    --------
    BackpropClassifier : The same network for classes.
    sklearn.neural_network.MLPRegressor : Scikit-learn's own implementation.
    skbackprop.warmup : Compile everything ahead of the first fit.

    Notes
    -----
    A layer computes :math:`Z = A W + b` from the outputs :math:`A` of the layer before; hidden layers then apply
    `activation`.

    **Initialisation.** With ``weight_init='auto'``, weights and intercepts of a layer are drawn uniformly from :math:`(-b, b)` with :math:`b =
    \sqrt{f / (n_\text{in} + n_\text{out})}`, where :math:`f = 2` for the logistic activation and 6 for the others
    (Glorot and Bengio, 2010, equation 16, who set the intercepts to zero).

    **Loss.** With sample weights :math:`s_i`, their sum :math:`S` (the number of rows without weights), :math:`K`
    targets and the raw outputs :math:`z_i`, the squared error has the identity as `out_activation_` and

    .. math::
        L = \frac{1}{2 K S} \sum_i s_i \sum_k (y_{ik} - z_{ik})^2;

    'poisson' has :math:`\hat y_{ik} = e^{z_{ik}}` and

    .. math::
        L = \frac{1}{S} \sum_i s_i \sum_k \left[ y_{ik} \ln (y_{ik} / \hat y_{ik}) - y_{ik} + \hat y_{ik} \right]

    (McCullagh and Nelder, 1989). As in scikit-learn, the gradient of the squared error is that of the sum over the
    targets, :math:`K` times that of the mean which `loss_` tells; the penalty is therefore weaker than the formula
    says by this factor. The formulas of the other losses stand with their classes in :mod:`skbackprop.functions`.

    **Normalization.** With the mean :math:`\mu` and the variance :math:`\sigma^2` (divided by the count, not by one less), over
    the mini-batch or over the layer, :math:`z` becomes :math:`\gamma (z - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta`, with
    :math:`\gamma = 1` and :math:`\beta = 0` at first. Both are trained without penalty. With 'batch' the intercepts have no
    effect, and stay as they were drawn. After each mini-batch, number :math:`t` counted from 0, the running mean and variance
    :math:`r` become :math:`(1 - a) r + a x` with :math:`a = \max(1 - m, 1 / (t + 1))`, where :math:`m` is the momentum and
    :math:`x` the batch's mean or unbiased variance.

    **Penalty.** :math:`\frac{\alpha}{S} \sum_l \left( \frac{1 - r}{2} \lVert W_l \rVert_F^2 + r \lVert W_l \rVert_1 \right)`,
    where :math:`r` is `l1_ratio`. With mini-batches, :math:`S` is the batch's,
    so the same `alpha` penalises more with smaller batches. A batch whose weights are all zero is left out.

    **Updates.** With gradient :math:`g` and rate :math:`\eta`: for 'sgd' :math:`v \leftarrow \mu v - \eta g`, then
    :math:`w \leftarrow w + v`, or with Nesterov's momentum :math:`w \leftarrow w + \mu v - \eta g`. For 'adam', with
    the decays :math:`\beta_1, \beta_2` for the means :math:`m` of :math:`g` and :math:`v` of :math:`g^2`, step
    :math:`t` is :math:`w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} +
    \epsilon}`. Those of the other solvers stand with their classes in :mod:`skbackprop.functions`.

    **Reproducibility.** With an int `random_state`, the same data and parameters give the same bits for any number of
    threads, in every process on the same kind of processor. In float64, the random numbers are those of
    :class:`~sklearn.neural_network.MLPRegressor` and the results agree with its own up to rounding; `lbfgs` amplifies
    rounding from iteration to iteration, so that long runs may end in another point. Where this class differs on
    purpose is listed in the documentation under "Differences from MLPClassifier".

    Ctrl-C ends training with a warning and leaves a usable estimator. If the loss or a weight stops being finite,
    training ends in that epoch: with an error, or, where the weights of a best epoch were kept, with a warning. The
    first fit after installation compiles the kernels; see :func:`~skbackprop.warmup`.

    References
    ----------
    * J. L. Ba, J. R. Kiros and G. E. Hinton (2016). Layer normalization. https://arxiv.org/abs/1607.06450
    * L. Bottou (2012). Stochastic gradient descent tricks. In Neural Networks: Tricks of the Trade, 2nd edition.
      Springer.
    * R. H. Byrd, P. Lu, J. Nocedal and C. Zhu (1995). A limited memory algorithm for bound constrained optimization.
      SIAM Journal on Scientific Computing 16, 1190-1208.
    * X. Glorot and Y. Bengio (2010). Understanding the difficulty of training deep feedforward neural networks.
      AISTATS.
    * K. He, X. Zhang, S. Ren and J. Sun (2015). Delving deep into rectifiers: surpassing human-level performance on ImageNet
      classification. ICCV. https://arxiv.org/abs/1502.01852
    * S. Ioffe and C. Szegedy (2015). Batch normalization: accelerating deep network training by reducing internal
      covariate shift. ICML. https://arxiv.org/abs/1502.03167
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
    * B. T. Polyak and A. B. Juditsky (1992). Acceleration of stochastic approximation by averaging. SIAM Journal on Control
      and Optimization 30, 838-855.
    * D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986). Learning representations by back-propagating errors.
      Nature 323, 533-536.
    * A. M. Saxe, J. L. McClelland and S. Ganguli (2014). Exact solutions to the nonlinear dynamics of learning in deep linear
      neural networks. ICLR. https://arxiv.org/abs/1312.6120
    * N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov (2014). Dropout: a simple way to prevent neural
      networks from overfitting. Journal of Machine Learning Research 15, 1929-1958.
    * I. Sutskever, J. Martens, G. Dahl and G. Hinton (2013). On the importance of initialization and momentum in deep
      learning. ICML.
    * H. Zou and T. Hastie (2005). Regularization and variable selection via the elastic net. Journal of the Royal Statistical
      Society B 67, 301-320.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>>     >>> from skbackprop import BackpropRegressor
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

    _parameter_constraints: dict = {
        **BaseBackprop._parameter_constraints,
        "standardize_target": ["boolean"],
        "loss": [StrOptions({name for name, kind in LOSSES.items() if "regression" in kind.kinds()}), Loss],
    }
    _numeric_targets = True

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        l1_ratio=0.0,
        dropout=0.0,
        max_norm=None,
        clip_norm=None,
        clip_value=None,
        averaging=None,
        weight_init="auto",
        output_bias="auto",
        frozen_layers=(),
        normalization=None,
        scoring=None,
        restore_best_weights=False,
        standardize_target=False,
        dtype=None,
        precision="full",
        n_jobs=None,
        device="cpu",
    ):
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

    def _advice(self, parameter, value):
        if parameter == "loss" and isinstance(value, Integral | list | tuple | np.ndarray):
            # scikit-learn's order of the arguments is not that of its classifier.
            return f"The first argument of {type(self).__name__} is loss: did you mean hidden_layer_sizes={value!r}?"
        return super()._advice(parameter, value)

    @property
    def _targets(self):
        known = vars(self).get
        return Numbers(self.loss, self.standardize_target, known("target_mean_"), known("target_scale_"))

    def _read_targets(self, y, first_pass, memory, incremental, classes):
        link = self._loss().out_activation
        if self.standardize_target and link != "identity":
            raise ValueError(
                f"standardize_target=True needs a loss whose predictions may be any number, but loss={self.loss!r} has "
                f"out_activation_={link!r}; set standardize_target=False"
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        loss = self._loss() if isinstance(self.loss, Loss) or self.loss in LOSSES else None
        tags.target_tags.positive_only = loss is not None and loss.lower >= 0
        return tags

    @available_if(has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch over the given data, from the present weights if there are any.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; None for equal ones.

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

    def predict(self, X, return_std=False):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.
        return_std : bool, default=False
            Whether to predict the standard deviations, too, which ``loss='gaussian_nll'`` learns.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, in the model's dtype; with several quantiles, those of the first target in the first columns, and so
            on.
        y_std : ndarray of the same shape
            Standard deviations. Only with `return_std`.

        Raises
        ------
        ValueError
            With `return_std`, if the loss learns none.
        """
        has_std = self._loss().has_std
        if return_std and not has_std:
            raise ValueError(f"return_std=True needs loss='gaussian_nll', which learns a spread; loss is {self.loss!r}")
        targets, predictions = self._predict(X)
        if self._means_other_outputs(targets):
            raise ValueError(
                f"loss={self.loss!r} is not what the network was fitted with, and its outputs mean something else"
            )
        predictions = targets.decode(predictions)
        if has_std:
            means, deviations = (_squeezed(part) for part in (predictions[:, 0::2], predictions[:, 1::2]))
            return _WithSpread((means, deviations)) if return_std else means
        return _squeezed(predictions)

    @np.errstate(under="ignore")
    def score(self, X, y, sample_weight=None):
        """Coefficient of determination R^2 of the predictions; with several quantiles, of the one next to the median.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
        """
        # What a subclass predicts is what it is scored by.
        predictions, targets = self.predict(X), self._targets
        if predictions.ndim == 2 and predictions.shape[1] == self.n_outputs_ and not targets.function.has_std:
            predictions = _squeezed(targets.points(predictions))
        return r2_score(y, predictions, sample_weight=sample_weight)


class _WithSpread(tuple):
    """Means and standard deviations, with an answer to those who take them for one array, as TransformedTargetRegressor does."""

    __slots__ = ()

    @property
    def ndim(self):
        raise AttributeError(
            "predict(return_std=True) gives a tuple of means and standard deviations, which cannot be transformed as one array: in "
            "the place of TransformedTargetRegressor use standardize_target=True"
        )


def _squeezed(columns):
    return _ravel(columns) if columns.shape[1] == 1 else columns
