# AdaSAP on RetinaNet R50-FPN, Pascal VOC 07+12.
_base_ = 'retinanet_r50_fpn_pruned-params40_1x_voc0712.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # Radius of the most and of the least important channel, up to the last prune step.
    rho_min=0.001, rho_max=0.02,
    rho=0.5,  # radius of the whole network from there on
    ungrouped='uniform')  # parameters of no channel group take rho
