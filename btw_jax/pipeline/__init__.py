"""A run from its configuration to its results, and finished runs loaded again.

A run passes through the first eight lines; the others read what it leaves:

  config, config_sections        the settings, nested by section
  api, result, estimators        btw_jax.fit and load: arrays in memory, which
                                 modalities, arrays, settings convert and check
  run_data, build, mitigations   data, trainers and hooks made of the settings
  train_run, stages              both stages of a run, to results.json
  modality_tests                 tests of modalities, which decide the gate
  choose, choices, refit         what validation chose; training on all examples
  evaluation, baselines          scores of a split; plain competitors
  workdir, files, csv_table      the files of a run; tensorboard, progress,
                                 interrupt while it trains
  restore, finished_run          models and data of a finished run
  evaluate_run, explain          other data, single decisions
  contribution                   Shapley values of modalities
  interactions, interference     decompositions, interventions; their tables
  study_grid, study              the runs of a study, and its report
  results_table, data_summary    tables for a terminal
"""
