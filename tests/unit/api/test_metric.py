"""The base class of metrics."""

import pytest

from sde_edit.api.metric import Metric


def test_a_misspelt_method_of_a_metric_is_refused_at_import():
    with pytest.raises(TypeError, match=r"Typo\.agregate.*Did you mean 'aggregate'"):

        class Typo(Metric):
            def agregate(self, rows_ND, counts_BN):
                return rows_ND.mean()
