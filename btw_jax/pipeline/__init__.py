"""A run from its configuration to its results, and finished runs loaded again.

A run passes through the first five lines; the others read what it leaves:

  config, config_sections        the settings, nested by section
  run_data, build, mitigations   data, trainers and hooks made of the settings
  train_run                      both stages of a run, to results.json
  modality_tests, evaluation     tests of modalities, scores of a split
  workdir, files, csv_table      the files of a run; tensorboard, progress,
                                 interrupt while it trains
  restore, finished_run          models and data of a finished run
  evaluate_run, explain          other data, single decisions
  interactions, interference     decompositions, interventions; their tables
  study_grid, study              the runs of a study, and its report
  results_table, data_summary    tables for a terminal
"""
