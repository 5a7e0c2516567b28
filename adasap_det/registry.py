"""Registries of what a config may name: importance criteria and budgets.

A criterion of one's own is a class of ten lines::

    @IMPORTANCES.register_module()
    class MyImportance(Importance):
        def channel_scores(self, group, tensors):
            ...
"""

from mmengine.registry import Registry

IMPORTANCES = Registry('importance', locations=['adasap_det.pruning'])
BUDGETS = Registry('budget', locations=['adasap_det.pruning'])
