"""Whether things converge as theory says: a derivative to its forward, an optimizer, a training run.

`taylor` fits the order at which a Taylor remainder falls, `optimizers` holds a step function against the
exact facts of optimization, `training` says of a loss curve or of a whole program whether it converges,
and if not, why.
"""
