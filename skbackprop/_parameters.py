"""Parameters of estimators and functions: their names, looked up once for each class, and what is said where one is invalid."""

import re
from functools import lru_cache

from sklearn.base import BaseEstimator

from skbackprop._names import did_you_mean, listed
from skbackprop._sklearn import InvalidParameterError, StrOptions

__all__ = ["NamedOnce"]


class NamedOnce(BaseEstimator):
    """A scikit-learn estimator whose parameters' names are remembered.

    scikit-learn inspects the constructor's signature whenever it needs them, which takes 0.1 ms for forty parameters, a dozen
    times for each fit of a search.
    """

    @classmethod
    @lru_cache
    def _get_param_names(cls):
        return super()._get_param_names()

    def _validate_params(self):
        """What scikit-learn says of an invalid parameter, with the names to choose from in their order, and with advice."""
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            message = str(error)
            parameter = re.match(r"The '(\w+)' parameter", message)[1]
            for constraint in self._parameter_constraints[parameter]:
                if isinstance(constraint, StrOptions):
                    # Of a set scikit-learn lists the names as they come.
                    message = message.replace(str(constraint), f"a str among {{{listed(constraint.options)}}}")
            advice = self._advice(parameter, getattr(self, parameter))
            raise InvalidParameterError(message if advice is None else f"{message} {advice}") from None

    def _advice(self, parameter, value):
        """What to say besides of an invalid parameter; None for nothing."""
        if not isinstance(value, str):
            return None
        options = [kind.options for kind in self._parameter_constraints[parameter] if isinstance(kind, StrOptions)]
        meant = did_you_mean(value, set().union(*options))
        return None if meant is None else f"Did you mean {meant!r}?"
