"""AdaSAP in all three stages on the embedded shapes data set, from the dense detector."""

_base_ = './shapes_pruned.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # The paper's radius of 2.0 is for 90 epochs and too large for so short a run. Over thousands
    # of channels a radius of 0.02 each amounts to a total radius of about 1.
    rho_min=0.001,
    rho_max=0.02,
    rho=0.5,
    radius_map='linear',
)
