"""Parameters of estimators and functions: cached names, and advice in errors about invalid values."""

import re
from functools import lru_cache

from sklearn.base import BaseEstimator

from skbackprop._names import did_you_mean, listed
from skbackprop._sklearn import InvalidParameterError, StrOptions

__all__ = ["NamedOnce"]


class NamedOnce(BaseEstimator):
    """A scikit-learn estimator whose parameter names are cached per class.

    scikit-learn inspects the constructor's signature on each use, which takes 0.1 ms for forty parameters, a dozen
    times per fit of a search.
    """

    @classmethod
    @lru_cache
    def _get_param_names(cls):
        return super()._get_param_names()

    def _validate_params(self):
        """Validate the parameters; scikit-learn's errors list valid names in order, and get advice appended."""
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            message = str(error)
            parameter = re.match(r"The '(\w+)' parameter", message)[1]
            for constraint in self._parameter_constraints[parameter]:
                if isinstance(constraint, StrOptions):
                    # scikit-learn lists the names of a set in arbitrary order.
                    message = message.replace(str(constraint), f"a str among {{{listed(constraint.options)}}}")
            advice = self._advice(parameter, getattr(self, parameter))
            raise InvalidParameterError(message if advice is None else f"{message} {advice}") from None

    def _advice(self, parameter, value):
        """Return advice on an invalid value, to append to the error; None for no advice."""
        if not isinstance(value, str):
            return None
        options = [kind.options for kind in self._parameter_constraints[parameter] if isinstance(kind, StrOptions)]
        meant = did_you_mean(value, set().union(*options))
        return None if meant is None else f"Did you mean {meant!r}?"
