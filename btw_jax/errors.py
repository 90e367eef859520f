"""The error that a wrong file, field or flag raises."""


class InputError(ValueError):
  """A file, field or flag is wrong: one line that says which, and what to do.

  Command lines print the message and exit with status 2; anything else that
  is raised is a defect and keeps its traceback.
  """
