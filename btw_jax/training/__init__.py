"""Training: one step, one epoch, one loop.

Read the files in this order; a batch passes through them from the top:

  state             what a run holds: parameters, weights, its best epoch
  example_source    a split in memory or on disk, sharded over devices
  loop              fit: epochs, callbacks, checkpoints, an early end
  in_memory         an epoch as one compiled program, or
  streaming         an epoch batch by batch from disk; both call
  epoch             the steps, the refresh, the validation of an epoch
  sampling          the order of examples, random keys
  trainer           the step: forward pass, gradient, optimizer
  weight_refresh    new weights, their moving average
  weighting_rule    the variants of the rule
  prediction        outputs of examples without a history of weights
  model_groups      clipping and the best epoch of models side by side
  crossfit          validation of each example at an epoch it did not choose

vectorized_runs maps all of it over settings and seeds, turns splits those that
do not fit in memory, selection chooses between settings, predictor predicts
splits with finished models, epoch_metrics averages what a streamed epoch logs.
The two checkpoint modules save states while training goes on, and finished
models.
"""
