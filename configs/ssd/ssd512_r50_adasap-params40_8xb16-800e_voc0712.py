# AdaSAP on SSD512 with ResNet-50, Pascal VOC 07+12: the default recipe, 40 % of the parameters.
_base_ = 'ssd512_r50_pruned-params40_8xb16-800e_voc0712.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # Radius of the most and of the least important channel, up to the last prune step.
    rho_min=0.001, rho_max=0.02,
    rho=0.5,  # radius of the whole network from there on
    ungrouped='uniform')  # parameters of no channel group take rho
