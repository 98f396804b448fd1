"""Suggestions for unknown names."""

from difflib import get_close_matches

__all__ = ["did_you_mean", "listed"]

#: Names in other libraries and papers; of several names here, the first available one is suggested.
_ALIASES = {
    "linear": ["identity", "polynomial"],
    "none": ["identity"],
    "sigmoid": ["logistic"],
    "swish": ["silu"],
    "leakyrelu": ["leaky_relu"],
    "lrelu": ["leaky_relu"],
    "mse": ["squared_error"],
    "l2": ["squared_error"],
    "ls": ["squared_error"],
    "mae": ["absolute_error"],
    "l1": ["absolute_error"],
    "lad": ["absolute_error"],
    "smooth_l1": ["huber"],
    "pinball": ["quantile"],
    "nll": ["log_loss", "gaussian_nll"],
    "normal": ["gaussian_nll", "glorot_normal"],
    "logistic": ["log_loss"],
    "deviance": ["log_loss"],
    "bce": ["log_loss"],
    "cross_entropy": ["log_loss"],
    "crossentropy": ["log_loss"],
    "binary_crossentropy": ["log_loss"],
    "categorical_crossentropy": ["log_loss"],
    "sparse_categorical_crossentropy": ["log_loss"],
    "softmax": ["log_loss"],
    "momentum": ["sgd"],
    "nesterov": ["sgd"],
    "gradient_descent": ["sgd"],
    "warmup": ["one_cycle"],
    "xavier": ["glorot_uniform"],
    "xavier_uniform": ["glorot_uniform"],
    "xavier_normal": ["glorot_normal"],
    "uniform": ["glorot_uniform"],
    "kaiming": ["he_normal"],
    "kaiming_normal": ["he_normal"],
    "kaiming_uniform": ["he_uniform"],
    "he": ["he_normal"],
    "bn": ["batch"],
    "ln": ["layer"],
}


def listed(names):
    """Names in their order, for messages.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    text : str
    """
    return ", ".join(map(repr, sorted(names)))


def did_you_mean(name, choices):
    """The choice that an unknown name probably means.

    Parameters
    ----------
    name : str
    choices : collection of str

    Returns
    -------
    choice : str or None
        The choice of which it is an alias, or else one with a similar spelling or one that contains it or is contained
        in it; None if there is none.
    """
    name = name.lower().replace("-", "_").replace(" ", "_")
    choices = sorted(choices)
    for candidates in (
        [name, *_ALIASES.get(name, [])],
        get_close_matches(name, choices, 1, 0.7),
        # "plateau" for "reduce_on_plateau", "batchnorm" for "batch".
        [choice for choice in choices if min(len(choice), len(name)) > 2 and (choice in name or name in choice)],
    ):
        found = next((candidate for candidate in candidates if candidate in choices), None)
        if found is not None:
            return found
    return None
