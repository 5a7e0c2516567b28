"""AdaSAP in all three stages on the embedded shapes data set, from the dense detector."""

_base_ = './shapes_pruned.py'

optim_wrapper = dict(
    type='AdaSAPOptimWrapper',
    form='asam',
    # The paper's radii, 2.0, are for 90 epochs; so short a run would not get far with them. Over
    # thousands of channels a radius of 0.02 each is a total one of about 1.
    rho_min=0.001,
    rho_max=0.02,
    rho=0.5,
    ungrouped='uniform',
)
