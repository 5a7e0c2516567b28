# AdaSAP on RetinaNet R50-FPN, Pascal VOC 07+12.
_base_ = 'retinanet_r50_fpn_pruned-params40_1x_voc0712.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',  # the paper's [second-hand]
    rho_min=0.01, rho_max=2.0,  # "the same everywhere" [second-hand]
    rho=2.0,  # after the cut [recalled]
    ungrouped='uniform',  # could not be read; parameters of no channel group take rho
)
