# AdaSAP on SSDLite-MobileNetV2, six classes of Pascal VOC 2012: an hour on one CPU core.
_base_ = 'ssdlite_mobilenetv2_voc2012_pruned.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',  # the paper's [second-hand]
    # A quarter of the paper's 2.0: 16 epochs are too few to make up for large radii, and a
    # depthwise filter has nine weights to share its channel's radius.
    rho_min=0.01, rho_max=0.5, rho=0.5,
    ungrouped='uniform',
)
