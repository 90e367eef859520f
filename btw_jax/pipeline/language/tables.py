"""The table of accuracies of the language model."""

from collections.abc import Mapping, Sequence

from btw_jax.reports import tables as tables_lib


def accuracies(
  of_splits: Mapping[str, Mapping[str, Sequence[float]]],
) -> list[dict[str, str]]:
  """Returns a row per task: its accuracy on each split, in percent.

  `of_splits` is split -> task -> `[S]` accuracies.
  """
  tasks = next(iter(of_splits.values()))
  return [
    {
      "task": task,
      **{
        f"{split}, %": tables_lib.mean_std(of_tasks[task], 100, 1)
        for split, of_tasks in of_splits.items()
      },
    }
    for task in tasks
  ]
