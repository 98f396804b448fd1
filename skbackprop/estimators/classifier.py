"""Multilayer perceptron classifier."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target

from skbackprop._sklearn import (
    StrOptions,
    _check_partial_fit_first_call,
    _fit_context,
    _modify_in_place_if_numpy,
    get_namespace,
)
from skbackprop.backends.data import frozen
from skbackprop.estimators._arrays import as_numpy
from skbackprop.estimators._base import BaseBackprop, has_partial_fit
from skbackprop.estimators._fit import Arguments
from skbackprop.estimators._labels import check_labels, refuse_misread_labels
from skbackprop.estimators._targets import CLASS_TARGETS, ColumnsOfClasses, find_classes, gives_proba, one_dimension
from skbackprop.estimators._workers import labels_of_all
from skbackprop.functions.losses import LOSSES, Loss

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BackpropClassifier"]


def _has_proba(estimator):
    """Whether the loss has probabilities; raises AttributeError if not, as `available_if` expects."""
    if not gives_proba(estimator.loss):
        raise AttributeError(
            f"loss={estimator.loss!r} gives no probabilities; use loss='log_loss', or decision_function"
        )
    return True


def _are_numbers(labels):
    """Whether labels are a 1-d NumPy array of integers or booleans."""
    return type(labels) is np.ndarray and labels.ndim == 1 and labels.dtype.kind in "biu"


class BackpropClassifier(ClassifierMixin, BaseBackprop):
    r"""Multilayer perceptron classifier, trained by backpropagation in compiled code.

    A drop-in replacement for :class:`~sklearn.neural_network.MLPClassifier`: the same parameters with the same
    defaults, the same attributes and methods, and the same model for the same `random_state`. Minimizes the
    cross-entropy, or another `loss`, for two classes, several classes, several labels per sample (`y` a binary
    indicator matrix), or several columns of classes, each with its own probabilities. `X` may be dense or sparse;
    sparse data are not made dense. Scale the columns first, for example with
    :class:`~sklearn.preprocessing.StandardScaler`: networks train badly on columns of very different scales.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
        Number of units of each hidden layer, from the inputs to the outputs; at least 1. An int means a single hidden
        layer, ``()`` none: a logistic regression. More units fit finer detail, and need more data or a larger `alpha`.

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
        Whether `fit` starts from the weights of the previous call instead of new ones. The layers of the network and
        the classes of `y` have to be the same. The optimizer state is reset; use `partial_fit` to keep it.

    momentum : float, default=0.9
        Momentum: fraction of the previous update that is added to this one; from 0 to 1. Used by 'sgd' only.

    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum, which evaluates the gradient as if after the momentum step (Sutskever et
        al., 2013) and so damps oscillations. Used by 'sgd' only, with ``momentum > 0``.

    early_stopping : bool, default=False
        Whether to set aside part of the training data as validation data, or to use the `X_val` of `fit`, and to stop
        when the validation score (accuracy, or `scoring`) no longer improves. The model keeps the weights of the best
        score. The split is stratified, and a class with a single row is then an error that names it. It is not
        stratified for multilabel targets, nor for three or more classes if one of its two parts would have fewer rows
        than there are classes. For data sets large enough to spare those rows; not used by 'lbfgs', and not possible
        with `partial_fit`.

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

    loss : str or loss object, default='log_loss'
        Loss function. A name stands for the object with default settings, ``'focal'`` for ``Focal()``; see
        :mod:`skbackprop.functions`:

        - 'log_loss': the cross-entropy; ``LogLoss(label_smoothing=0.1)`` reduces overconfidence.
        - 'focal': the cross-entropy with less weight on rows that are already classified well (Lin et al., 2017). For
          rare classes.
        - 'hinge', 'squared_hinge': margin losses, one-vs-rest for several classes. They give no probabilities.

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
        Initialization of the output layer's intercepts: 'auto' follows `weight_init`; with 'prior', they give the class
        frequencies of the training data, which saves the epochs that would only learn these. Matters for rare classes.
        Only with a loss that gives probabilities.

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

        - None: the estimator's own score, accuracy, with the sample weights multiplied by `class_weight`.
        - 'loss': the negative validation loss, without the penalty. Finer than a score that counts or ranks, so it
          shows progress and overfitting earlier.
        - The name of a scikit-learn scorer, or a callable ``scorer(estimator, X, y)``, which gets the rows as `fit` got
          them, and the keyword ``sample_weight`` if there are weights. The names of losses start with 'neg', such as
          'neg_log_loss'.

        `tol` is in units of the score. HistGradientBoosting has the same choices.

    restore_best_weights : bool, default=False
        Whether to restore the weights of the best epoch at the end, without stopping earlier: the best by validation
        score if `fit` gets `X_val`, otherwise by training loss. `early_stopping` always does this; with it,
        ``n_iter_no_change=np.inf`` prevents stopping. For noisy training, for example with large learning rates. Not
        used by 'lbfgs', and not possible with `partial_fit`.

    class_weight : dict, 'balanced', list of dict or None, default=None
        Class weights, by which the sample weights are multiplied in the loss; non-negative. For imbalanced classes, or
        classes whose errors differ in cost.

        - A dict has the form ``{class: weight}``; missing classes have weight 1.
        - 'balanced' gives all classes the same total weight: the class weight is ``S / (n_classes * S_c)``, where S is
          the sum of all sample weights and S_c that of the class, or their counts without sample weights (King and
          Zeng, 2001). It needs all rows of `y`, and is not possible with `partial_fit`, which sees only a few.
        - For multilabel problems, a list has one dict for each column, with the keys 0 and 1, and the weights of a row
          are multiplied. 'balanced' balances each column.

        The accuracy and the loss of early stopping are weighted with them, too, so that they select the weights that
        training aims at: with 'balanced', the accuracy is the balanced accuracy. A scorer given by `scoring` gets the
        sample weights only.

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
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The classes in sorted order, which is that of the columns of `predict_proba`. If `y` had several columns of
        classes, a list with an array for each.

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

    n_layers_ : int
        Number of layers, including inputs and outputs.

    n_outputs_ : int
        Number of output units: 1 for two classes, otherwise the number of classes or labels; with several columns of
        classes, the total number of classes.

    out_activation_ : {'logistic', 'softmax', 'identity'}
        Activation function of the output units, see Notes; 'identity' for losses without probabilities.

    t_ : int
        Number of training rows seen, each counted once per epoch; continued by `warm_start` and `partial_fit`. 0 with
        'lbfgs'.

    n_features_in_ : int
        Number of columns of `X` in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X` in `fit`. Only if `X` had column names that were all strings.

    See Also
    --------
    BackpropRegressor : The same network for continuous targets.
    sklearn.neural_network.MLPClassifier : scikit-learn's own implementation.
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

    **Loss.** With sample weights :math:`s_i`, their sum :math:`S` (the number of rows without weights) and the raw
    outputs :math:`z_i`, two classes or several labels have independent logistic outputs, :math:`p_{ik} = 1 / (1 +
    e^{-z_{ik}})`, and

    .. math::
        L = -\frac{1}{S} \sum_i s_i \sum_k \left[ y_{ik} \ln p_{ik} + (1 - y_{ik}) \ln (1 - p_{ik}) \right];

    three classes or more have the softmax :math:`p_{ik} = e^{z_{ik}} / \sum_j e^{z_{ij}}` and

    .. math::
        L = -\frac{1}{S} \sum_i s_i \ln p_{i y_i}

    (Bishop, 2006). Several columns of classes have a softmax each, and their losses are summed. Inside the logarithms,
    probabilities are clipped to the interval from the machine epsilon to one minus it. For the formulas of the other
    losses, see their classes in :mod:`skbackprop.functions`.

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
    :class:`~sklearn.neural_network.MLPClassifier` and the results agree with its own up to rounding; `lbfgs` amplifies
    rounding from iteration to iteration, so that long runs may end at another point. The documentation lists the
    intended differences under "Differences from MLPClassifier".

    Ctrl-C ends training with a warning and leaves a usable estimator. If the loss or a weight is no longer finite,
    training ends in that epoch: with an error, or, if the weights of a best epoch are kept, with a warning. The first
    fit after installation compiles the kernels; see :func:`~skbackprop.warmup`.

    References
    ----------
    * J. L. Ba, J. R. Kiros and G. E. Hinton (2016). Layer normalization. https://arxiv.org/abs/1607.06450
    * C. M. Bishop (2006). Pattern Recognition and Machine Learning. Springer. Section 4.3.
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
    * G. King and L. Zeng (2001). Logistic regression in rare events data. Political Analysis 9, 137-163.
    * D. P. Kingma and J. Ba (2015). Adam: a method for stochastic optimization. ICLR. https://arxiv.org/abs/1412.6980
    * Y. LeCun, L. Bottou, G. B. Orr and K.-R. Müller (1998). Efficient BackProp. In Neural Networks: Tricks of the
      Trade. Springer.
    * T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár (2017). Focal loss for dense object detection. ICCV.
      https://arxiv.org/abs/1708.02002
    * I. Loshchilov and F. Hutter (2019). Decoupled weight decay regularization. ICLR. https://arxiv.org/abs/1711.05101
    * V. Nair and G. E. Hinton (2010). Rectified linear units improve restricted Boltzmann machines. ICML.
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
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbackprop import BackpropClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> model = make_pipeline(
    ...     StandardScaler(),
    ...     BackpropClassifier(hidden_layer_sizes=(32,), learning_rate_init=0.01, random_state=0),
    ... )
    >>> model.fit(X_train, y_train).score(X_test, y_test)
    1.0
    >>> model.predict(X_test[:5])
    array([0, 0, 0, 0, 1])
    >>> model.predict_proba(X_test[:5]).shape
    (5, 3)
    """

    # For type checkers only: fitting sets it.
    classes_: np.ndarray | list[np.ndarray]

    _parameter_constraints: dict[Any, Any] = {
        **BaseBackprop._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
        "loss": [StrOptions({name for name, kind in LOSSES.items() if "binary" in kind.kinds()}), Loss],
    }
    _numeric_targets = False

    def __init__(
        self,
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
        loss: Any = "log_loss",
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
        class_weight: "dict[Any, float] | list[dict[Any, float] | str] | str | None" = None,
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
        self.loss = loss
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
        self.class_weight = class_weight
        self.dtype = dtype
        self.precision = precision
        self.n_jobs = n_jobs
        self.device = device
        self.input_layers = input_layers
        self.parametrization = parametrization
        self.dropout_schedule = dropout_schedule
        self.weight_decay_schedule = weight_decay_schedule
        self.parametric_activation = parametric_activation

    def _refuse_targets(self, y, name):
        refuse_misread_labels(y, name)

    @property
    def _targets(self):
        return self._targets_of(CLASS_TARGETS[self._target_type], self.classes_)

    def _targets_of(self, kind, classes):
        return kind(self.loss, classes, self.class_weight)

    def _read_targets(self, y, first_pass, memory, incremental, classes, workers):
        y = one_dimension(y)
        if incremental or not first_pass:
            targets = self._declared(classes, y, first_pass) if incremental else self._targets
            return targets, targets.read(y, "y", same=self.warm_start and workers is None)
        if "classes" not in memory:
            found = find_classes(y if workers is None else labels_of_all(y, workers))
            memory["classes"] = found, frozen(self._targets_of(*found).encode(y))
        (kind, found), encoded = memory["classes"]
        # Copied, because `classes_` is a public attribute that users may change.
        return self._targets_of(kind, copy.copy(found)), encoded

    def _declared(self, classes, y, first_pass):
        """Return the targets for the `classes` of the first `partial_fit`; raise ValueError if later ones differ."""
        check_labels(classes, "classes")
        in_columns = isinstance(classes, list | tuple) and len(classes) and np.ndim(classes[0]) == 1
        fitted = None if first_pass else self._targets
        if not in_columns:
            if first_pass:
                vars(self).pop("classes_", None)
            if isinstance(fitted, ColumnsOfClasses) or not _check_partial_fit_first_call(self, classes):
                return fitted
            is_indicator = type_of_target(y) == "multilabel-indicator"
            return self._targets_of(*find_classes(y if is_indicator else self.classes_))
        # A list with the classes of each column, as for MultiOutputClassifier.
        named = [np.unique(column) for column in classes]
        if first_pass:
            return self._targets_of(ColumnsOfClasses, named)
        is_same = isinstance(fitted, ColumnsOfClasses) and len(named) == len(self.classes_)
        if not (is_same and all(map(np.array_equal, named, self.classes_))):
            raise ValueError(
                f"classes={classes!r} is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        return fitted

    @available_if(has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "Self":
        """Train for one epoch on the given data, starting from the current weights if there are any.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data.
        y : {array-like, sparse matrix} of shape (n_samples,), (n_samples, n_outputs) or (n_samples, n_classes)
            Class labels, some of `classes`, in one column or several; for multilabel problems, a binary indicator
            matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative sample weights; None for equal weights.
        classes : array-like of shape (n_classes,) or list of array-like, default=None
            All classes across all calls; a list with those of each column if `y` has several. Required in the first
            call, can be omitted in later ones.

        Returns
        -------
        self : object
            The estimator after the epoch.

        Raises
        ------
        TypeError
            If `X`, `y` or `sample_weight` is a masked array.
        ValueError
            If an argument is invalid, with `early_stopping`, `restore_best_weights` or ``class_weight='balanced'``, or
            if training diverges.
        """
        if self.class_weight == "balanced":
            # A batch may have other class frequencies than the whole data, or lack classes. Same advice as
            # SGDClassifier's.
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' weights, use "
                "compute_class_weight('balanced', classes=classes, y=y). In place of y you can use a large enough sample "
                "of the full training set target to properly estimate the class frequency distributions. Pass the "
                "resulting weights as the class_weight parameter, in a dict with the classes as keys."
            )
        return self._fit(Arguments(X, y, sample_weight, classes=as_numpy(classes)), incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        y : ndarray of shape (n_samples,), (n_samples, n_outputs) or (n_samples, n_classes)
            The most probable class of each row, in the dtype of `classes_`; one column per column of classes, if `y`
            had several. For multilabel problems, a dense indicator matrix of integers, with 1 for each label whose
            probability exceeds one half.
        """
        targets, predictions = self._predict(X)
        return targets.decode(predictions)

    def decision_function(self, X: Any) -> np.ndarray:
        r"""Compute the scores of the classes: logits or log-probabilities.

        The raw outputs of a softmax are only defined up to a constant per row, which
        :class:`~sklearn.calibration.CalibratedClassifierCV` or :class:`~sklearn.ensemble.StackingClassifier` would
        treat as information. With a loss that has a softmax, scores are therefore normalized: :math:`z_k - \ln \sum_j
        e^{z_j}`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes), or list of ndarray
            In the model's dtype. Two classes: one score per row, positive for the second of `classes_`; the log-odds if
            the loss has probabilities. Three or more classes: one column per class, the largest for the predicted
            class; log-probabilities if the loss has probabilities, otherwise raw outputs. Multilabel problems: one
            column per label, positive if the label is predicted. Several columns of classes: a list with one array per
            column.
        """
        targets, outputs = self._predict(X, link=False)
        return targets.scores(outputs)

    @available_if(_has_proba)
    def predict_proba(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Estimate the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), or list of ndarray
            One column for each of `classes_`, in the model's dtype. Each row sums to one, except for multilabel
            problems, where each entry is the probability of a label. For several columns of classes, a list with one
            array per column.
        """
        targets, predictions = self._predict(X)
        return targets.probabilities(predictions)

    @available_if(_has_proba)
    def predict_log_proba(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Compute the logarithms of the probability estimates.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), or list of ndarray
            ``log(predict_proba(X))``, in the model's dtype; -inf for a probability of zero.
        """
        probabilities = self.predict_proba(X)
        in_columns = isinstance(probabilities, list)
        parts = probabilities if in_columns else [probabilities]
        xp, _ = get_namespace(parts[0])
        with np.errstate(divide="ignore"):
            logarithms = [_modify_in_place_if_numpy(xp, xp.log, part, out=part) for part in parts]
        return logarithms if in_columns else logarithms[0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy: the fraction of rows for which all labels are predicted correctly.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
        """
        classes = getattr(self, "classes_", None)
        if isinstance(classes, list):
            hits = (as_numpy(self.predict(X)) == np.asarray(as_numpy(y))).all(axis=1)
            return np.average(hits, weights=as_numpy(sample_weight))
        if sample_weight is None and _are_numbers(y) and _are_numbers(classes):
            # Equals accuracy_score, whose checks take longer than the predictions for a small fold.
            labels = self.predict(X)
            if labels.shape == y.shape:
                return float(np.average(labels == y))
        check_labels(y, "y")
        return super().score(X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
