"""The classifier."""

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from skbackprop.estimators._base import BaseBackprop, has_partial_fit

__all__ = ["BackpropClassifier"]


class BackpropClassifier(ClassifierMixin, BaseBackprop):
    r"""Multilayer perceptron classifier, trained by backpropagation in compiled code.

    Takes the place of :class:`~sklearn.neural_network.MLPClassifier`: the same parameters with the same defaults, the
    same attributes and methods, and the same model for the same `random_state`. Minimises the cross-entropy, for two
    classes, several classes, or several labels a sample (`y` a binary indicator matrix). `X` may be dense or sparse;
    sparse data are not made dense. Scale the columns first, for example with
    :class:`~sklearn.preprocessing.StandardScaler`: networks train badly on columns of very different size.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
        Units of the hidden layers, in order from the inputs to the outputs; each at least 1. An int is short for a
        single hidden layer, ``()`` means none: a logistic regression. More units fit finer detail, and want more data
        or a larger `alpha`.

    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        What a hidden unit makes of the weighted sum z of its inputs:

        - 'identity': ``z``. The network stays linear, however many layers it has.
        - 'logistic': ``1 / (1 + exp(-z))``, between 0 and 1 (Rumelhart, Hinton and Williams, 1986).
        - 'tanh': ``tanh(z)``, between -1 and 1, smooth and centred (LeCun et al., 1998). Worth a try for small
          networks and with ``solver='lbfgs'``.
        - 'relu': ``max(0, z)`` (Nair and Hinton, 2010). Cheapest, and does not flatten out for large z.

    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
        How the weights are found:

        - 'adam': mini-batch steps scaled for each weight by running moments of its gradient (Kingma and Ba, 2015).
          Needs the least tuning.
        - 'sgd': mini-batch steps along the gradient, with momentum (Sutskever et al., 2013). Can end in a better model
          than 'adam' once `learning_rate_init` and `learning_rate` have been tuned.
        - 'lbfgs': SciPy's L-BFGS-B (Byrd et al., 1995), a quasi-Newton method that uses all rows for each step. Often
          the best choice up to a few thousand rows. It has no mini-batches, no early stopping and no `partial_fit`.

    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights (not on the intercepts); non-negative. Raise it, by factors of ten,
        when the model does much better on the training data than on new data.

    batch_size : int or 'auto', default='auto'
        Rows of a mini-batch, at least 1. 'auto' takes 200, or all training rows if they are fewer; a larger number
        than there are rows is cut down with a warning. 1 is stochastic gradient descent in the strict sense, all rows
        plain gradient descent. Small batches make more steps an epoch, large ones use the processor better. Not used
        by 'lbfgs'.

    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        How the step size develops; used by 'sgd' only:

        - 'constant': it stays at `learning_rate_init`.
        - 'invscaling': after each epoch it becomes ``learning_rate_init / (t + 1) ** power_t``, where t counts the
          rows seen so far (compare Bottou, 2012). It thus falls steeply after the first epoch: start with a much
          larger rate, or lower `power_t`.
        - 'adaptive': it is divided by 5 whenever training would have stopped for want of improvement (see `tol`), and
          training stops when it has come down to 1e-6.

    learning_rate_init : float, default=0.001
        Step size at the start; positive. The first parameter to tune for 'sgd' and 'adam': lower it if the loss jumps
        about or becomes infinite, raise it if the loss falls slowly. Not used by 'lbfgs'.

    power_t : float, default=0.5
        Exponent of ``learning_rate='invscaling'``, non-negative. Used by 'sgd' only.

    max_iter : int, default=200
        Largest number of epochs (passes over the training rows), or of iterations with 'lbfgs'; at least 1. If
        training ends for this reason, a `ConvergenceWarning` says so.

    shuffle : bool, default=True
        Whether each epoch takes the rows in a new random order. Turn it off only if they are well mixed already, or if
        their order matters. Not used by 'lbfgs'.

    random_state : int, RandomState instance or None, default=None
        Source of the initial weights, of early stopping's split and of the order of the rows, drawn in this sequence.
        Pass an int for the same model at each call.

    tol : float, default=0.0001
        Smallest improvement that counts; non-negative. Training stops after more than `n_iter_no_change` epochs in a
        row that lower the best training loss (with `early_stopping`: raise the best validation score) by less than
        this. With 'lbfgs', the largest component of the gradient at which the solution is accepted.

    verbose : bool or int, default=False
        Whether 'sgd' and 'adam' print the loss of each epoch, and with `early_stopping` the validation score.

    warm_start : bool, default=False
        Whether `fit` starts from the weights of the call before instead of new ones. The network's layers and `y`'s
        classes have to be the same. The optimizer's own state starts anew; use `partial_fit` to keep it.

    momentum : float, default=0.9
        Share of the last step that is repeated in the next; from 0 to 1. Used by 'sgd' only.

    nesterovs_momentum : bool, default=True
        Whether the gradient counts as if taken after the momentum step (Sutskever et al., 2013), which damps
        oscillations. Used by 'sgd' only, with ``momentum > 0``.

    early_stopping : bool, default=False
        Whether to put part of the training data aside and to stop when the score on it (accuracy) no longer improves.
        The model keeps the weights of the best score. The split is stratified, and a class with a single row is then
        an error that names it. It is not stratified for several labels a sample, nor for three or more classes if one
        of its two parts has fewer rows than there are classes. For data sets large enough to do without those rows;
        not used by 'lbfgs', and not possible with `partial_fit`.

    validation_fraction : float, default=0.1
        Share of the rows that `early_stopping` puts aside; at least 0, less than 1, and large enough for two rows.

    beta_1 : float, default=0.9
        Decay of the running mean of the gradient; at least 0, less than 1. Used by 'adam' only.

    beta_2 : float, default=0.999
        Decay of the running mean of the squared gradient; at least 0, less than 1. Used by 'adam' only.

    epsilon : float, default=1e-8
        Added to the divisor of the step, so that it is never zero; positive. Used by 'adam' only. It is not corrected
        for bias, so it weighs more in the first steps than PyTorch's does.

    n_iter_no_change : int or numpy.inf, default=10
        Epochs without an improvement by `tol` that are tolerated; at least 1, infinity for no such limit. Raise it if
        the loss is noisy. Not used by 'lbfgs'.

    max_fun : int, default=15000
        Largest number of evaluations of the loss; at least 1, and each iteration takes one or more. Used by 'lbfgs'
        only.

    dtype : {'float32', 'float64'} or None, default=None
        Type of the weights, the arithmetic and the predictions. None keeps that of `X` if it is float32 or float64,
        and takes float64 for everything else. 'float32' converts `X`: half the memory, twice as many numbers in each
        vector instruction, about seven digits.

    n_jobs : int or None, default=None
        Threads for training and prediction; not 0. None takes as many as a mini-batch's work can keep busy, which is
        one for small networks; 1 is serial; -1 means all cores, -2 all but one. Never more are used than the process
        may have by its affinity, its container's quota, its share as a joblib worker, ``NUMBA_NUM_THREADS`` and
        ``OMP_NUM_THREADS``. The result does not depend on it. In a search that itself runs in parallel there is
        nothing to set.

    device : {'cpu'}, default='cpu'
        Where the arithmetic runs. This version has kernels for the CPU only; any other value is an error.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes in sorted order, which is that of `predict_proba`'s columns.

    coefs_ : list of ndarray of length n_layers - 1
        Weights. Entry i has shape (units of layer i, units of layer i + 1). Changing the arrays in place changes the
        model.

    intercepts_ : list of ndarray of length n_layers - 1
        Intercepts. Entry i has shape (units of layer i + 1,).

    loss_ : float
        Loss with penalty. For 'sgd' and 'adam' that of the last epoch: the mean over its rows of their mini-batches'
        losses, each taken before the batch's own step. For 'lbfgs' that of the solution.

    loss_curve_ : list of float
        `loss_` of every epoch; goes on with `warm_start` and `partial_fit`. For 'sgd' and 'adam' only.

    best_loss_ : float or None
        Smallest value in `loss_curve_`; None with `early_stopping`, where `best_validation_score_` takes its place.
        For 'sgd' and 'adam' only.

    validation_scores_ : list of float or None
        Score (accuracy) on the rows put aside, after every epoch, NaN if a prediction is not finite; None without
        `early_stopping`. For 'sgd' and 'adam' only.

    best_validation_score_ : float or None
        Best of `validation_scores_`, that of the weights which were kept; None without `early_stopping`. For 'sgd' and
        'adam' only.

    n_iter_ : int
        Epochs, or iterations of 'lbfgs', in the last call of `fit`; 1 after `partial_fit`.

    n_layers_ : int
        Layers of units, inputs and outputs included.

    n_outputs_ : int
        Units of the output layer: 1 for two classes, otherwise as many as classes or labels.

    out_activation_ : {'logistic', 'softmax'}
        Function of the output units, see Notes.

    t_ : int
        Training rows seen, each counted once an epoch; goes on with `warm_start` and `partial_fit`. 0 with 'lbfgs'.

    n_features_in_ : int
        Columns of the `X` seen by `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of these columns. Only if `X` had names, and all of them were strings.

    See Also
    --------
    BackpropRegressor : The same network for continuous targets.
    sklearn.neural_network.MLPClassifier : Scikit-learn's own implementation.
    skbackprop.warmup : Compile everything ahead of the first fit.

    Notes
    -----
    A layer computes :math:`Z = A W + b` from the outputs :math:`A` of the layer before; hidden layers then apply
    `activation`.

    **Initialisation.** Weights and intercepts of a layer are drawn uniformly from :math:`(-b, b)` with :math:`b =
    \sqrt{f / (n_\text{in} + n_\text{out})}`, where :math:`f = 2` for the logistic activation and 6 for the others
    (Glorot and Bengio, 2010, equation 16, who set the intercepts to zero).

    **Loss.** With sample weights :math:`s_i`, their sum :math:`S` (the number of rows without weights) and the raw
    outputs :math:`z_i`, two classes or several labels have independent logistic outputs, :math:`p_{ik} = 1 / (1 +
    e^{-z_{ik}})`, and

    .. math::
        L = -\frac{1}{S} \sum_i s_i \sum_k \left[ y_{ik} \ln p_{ik} + (1 - y_{ik}) \ln (1 - p_{ik}) \right];

    three classes or more have the softmax :math:`p_{ik} = e^{z_{ik}} / \sum_j e^{z_{ij}}` and

    .. math::
        L = -\frac{1}{S} \sum_i s_i \ln p_{i y_i}

    (Bishop, 2006). Inside the logarithms, probabilities are kept between the machine epsilon and one minus it.

    **Penalty.** :math:`\frac{\alpha}{2 S} \sum_l \lVert W_l \rVert_F^2`. With mini-batches, :math:`S` is the batch's,
    so the same `alpha` penalises more with smaller batches. A batch whose weights are all zero is left out.

    **Updates.** With gradient :math:`g` and rate :math:`\eta`: for 'sgd' :math:`v \leftarrow \mu v - \eta g`, then
    :math:`w \leftarrow w + v`, or with Nesterov's momentum :math:`w \leftarrow w + \mu v - \eta g`. For 'adam', with
    the decays :math:`\beta_1, \beta_2` for the means :math:`m` of :math:`g` and :math:`v` of :math:`g^2`, step
    :math:`t` is :math:`w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} +
    \epsilon}`.

    **Reproducibility.** With an int `random_state`, the same data and parameters give the same bits for any number of
    threads, in every process on the same kind of processor. In float64, the random numbers are those of
    :class:`~sklearn.neural_network.MLPClassifier` and the results agree with its own up to rounding; `lbfgs` amplifies
    rounding from iteration to iteration, so that long runs may end in another point. Where this class differs on
    purpose is listed in the documentation under "Differences from MLPClassifier".

    Ctrl-C ends training with a warning and leaves a usable estimator. If the loss or a weight stops being finite,
    training ends in that epoch: with an error, or, where `early_stopping` has kept a best model, with a warning. The
    first fit after installation compiles the kernels; see :func:`~skbackprop.warmup`.

    References
    ----------
    * C. M. Bishop (2006). Pattern Recognition and Machine Learning. Springer. Section 4.3.
    * L. Bottou (2012). Stochastic gradient descent tricks. In Neural Networks: Tricks of the Trade, 2nd edition.
      Springer.
    * R. H. Byrd, P. Lu, J. Nocedal and C. Zhu (1995). A limited memory algorithm for bound constrained optimization.
      SIAM Journal on Scientific Computing 16, 1190-1208.
    * X. Glorot and Y. Bengio (2010). Understanding the difficulty of training deep feedforward neural networks.
      AISTATS.
    * D. P. Kingma and J. Ba (2015). Adam: a method for stochastic optimization. ICLR. https://arxiv.org/abs/1412.6980
    * Y. LeCun, L. Bottou, G. B. Orr and K.-R. Müller (1998). Efficient BackProp. In Neural Networks: Tricks of the
      Trade. Springer.
    * V. Nair and G. E. Hinton (2010). Rectified linear units improve restricted Boltzmann machines. ICML.
    * D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986). Learning representations by back-propagating errors.
      Nature 323, 533-536.
    * I. Sutskever, J. Martens, G. Dahl and G. Hinton (2013). On the importance of initialization and momentum in deep
      learning. ICML.

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

    #: Name of the only loss, as `MLPClassifier` has it.
    loss = "log_loss"
    _numeric_targets = False

    def __init__(
        self,
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
        dtype=None,
        n_jobs=None,
        device="cpu",
    ):
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
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.device = device

    def _set_classes(self, y):
        target_type = type_of_target(y, input_name="y")
        if "multioutput" in target_type:
            raise ValueError(
                f"y is of type {target_type!r}: several columns of labels are supported as a binary indicator matrix only"
            )
        self.classes_ = unique_labels(y)
        self._target_type = target_type

    def _encode_targets(self, y, keep_classes):
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if keep_classes or (hasattr(self, "classes_") and not hasattr(self, "coefs_")):
            self._check_classes(y)
        else:
            self._set_classes(y)
        if self._target_type == "multilabel-indicator":
            y = y.toarray() if sparse.issparse(y) else y
            return y != 0
        if self._target_type == "multiclass":
            return np.searchsorted(self.classes_, y)[:, np.newaxis]
        return (y == self.classes_[-1])[:, np.newaxis] & (len(self.classes_) > 1)

    def _check_classes(self, y):
        classes = unique_labels(y)
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _loss_name(self):
        return "multiclass_log_loss" if self._target_type == "multiclass" else "binary_log_loss"

    def _n_outputs(self, targets):
        return len(self.classes_) if self._target_type == "multiclass" else targets.shape[1]

    def _stratification(self, targets):
        if self._target_type == "multilabel-indicator":
            return None
        if self._target_type == "binary":
            return targets.astype(bool)
        # A share for every class needs at least as many validation rows as classes; without, the split is plain.
        n_validation = int(np.ceil(self.validation_fraction * len(targets)))
        enough = len(self.classes_) <= min(n_validation, len(targets) - n_validation)
        return targets[:, 0].astype(np.intp) if enough else None

    def _explain_split(self, error, stratify):
        message = super()._explain_split(error, stratify)
        if stratify is not None:
            codes, counts = np.unique(stratify, return_counts=True)
            rare = [str(self.classes_[int(code)]) for code in codes[counts < 2]]
            if rare:
                message += f" (in the words of y: {', '.join(rare)})"
        return message

    def _score_predictions(self, targets, predictions, sample_weight):
        if self._target_type == "multiclass":
            labels, expected = predictions.argmax(axis=1), targets[:, 0].astype(np.intp)
        else:
            labels, expected = (predictions > 0.5).astype(np.intp), targets.astype(np.intp)
            if self._target_type != "multilabel-indicator":
                labels, expected = labels[:, 0], expected[:, 0]
        return accuracy_score(expected, labels, sample_weight=sample_weight)

    @available_if(has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch over the given data, from the present weights if there are any.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Class labels, some of `classes`; for multilabel problems, a binary indicator matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; None for equal ones.
        classes : array-like of shape (n_classes,), default=None
            All classes that any call will bring. Required at the first call, may be omitted later.

        Returns
        -------
        self : object
            The estimator after the epoch.

        Raises
        ------
        TypeError
            If `X`, `y` or `sample_weight` is a masked array.
        ValueError
            If an argument is invalid, with `early_stopping`, or if training diverges.
        """
        if _check_partial_fit_first_call(self, classes):
            indicator = type_of_target(y).startswith("multilabel")
            self._set_classes(y if indicator else self.classes_)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_classes)
            The most probable class of each row, in the dtype of `classes_`. For multilabel problems, a dense indicator
            array of integers, with 1 for each label whose probability exceeds one half.
        """
        probabilities = self._predict_raw(X)
        if self._target_type == "multiclass":
            return self.classes_[probabilities.argmax(axis=1)]
        positive = (probabilities > 0.5).astype(np.intp)
        if self._target_type == "multilabel-indicator":
            return positive
        return self.classes_[np.minimum(positive[:, 0], len(self.classes_) - 1)]

    def predict_proba(self, X):
        """Probability estimates of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            One column for each of `classes_`, in the model's dtype. Each row sums to one; for multilabel problems, its
            entries are the probabilities of the labels, each between 0 and 1 on its own.
        """
        probabilities = self._predict_raw(X)
        if self._target_type != "binary":
            return probabilities
        if len(self.classes_) == 1:
            return np.ones_like(probabilities)
        return np.hstack([1 - probabilities, probabilities])

    def predict_log_proba(self, X):
        """Logarithms of the probability estimates.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``, in the model's dtype and the same order of columns; -inf for a probability of
            zero.
        """
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
