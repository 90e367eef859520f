"""The tasks of the MIMIC-IV stays, and how their files are named."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
  """A task of FuseMoE's pipeline.

  Attributes:
    file: the part of the file names that names the task.
    kind: the kind of task: binary, multiclass or multilabel.
    num_labels: the number of classes, or the number of labels of a stay.
  """

  file: str
  kind: str
  num_labels: int

  def file_name(self, split: str, *, missing: bool) -> str:
    """Returns a file name; `missing` is for stays that may lack modalities."""
    return f"{split}_{self.file}{'-missingInd' * missing}_stays.pkl"


TASKS = {
  "ihm": Task("ihm-48-cxr-notes-ecg", "binary", 2),
  "los": Task("los-48-cxr-notes-ecg", "multiclass", 4),
  "los_binary": Task("los-48-cxr-notes-ecg", "binary", 2),
  "pheno": Task("pheno-all-cxr-notes-ecg", "multilabel", 25),
}
