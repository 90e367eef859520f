import pytest

from btw_jax.pipeline import interference_tables


def _row(modality, kind, flipped, after, *, model="uniform", before=0.951):
  return {
    "model": model, "modality": modality, "kind": kind,
    "flipped": {"seeds": flipped}, "before": {"seeds": [before]},
    "after": {"seeds": after},
  }  # fmt: skip


def test_the_modality_that_misleads_most_stands_first():
  rows = [
    _row("words", "mismatch", [0.02, 0.04], [0.94]),
    _row("words", "zero", [0.9], [0.1]),
    _row("words", "noise", [0.05], [0.93]),
    _row("sound", "mismatch", [0.2, 0.046], [0.875, 0.885]),
    _row("sound", "noise", [0.04], [0.92]),
    _row("sound", "mismatch", [0.9], [0.1], model="other"),
  ]
  assert interference_tables.misleading(rows, "accuracy") == [
    # (0.2 + 0.046) / 2 = 12.3 %.
    "sound: changes 12.3 % of decisions when taken from another class"
    " (accuracy 95.1 % → 88.0 %); changes 4.0 % of decisions when replaced by"
    " noise (accuracy 95.1 % → 92.0 %)",
    "words: changes 5.0 % of decisions when replaced by noise (accuracy 95.1 %"
    " → 93.0 %); changes 3.0 % of decisions when taken from another class"
    " (accuracy 95.1 % → 94.0 %)",
  ]
  assert interference_tables.misleading(rows[1:2], "accuracy") == []


@pytest.mark.parametrize("kind", ["noise", "mismatch"])
def test_a_regression_is_told_in_the_unit_of_the_target(kind):
  rows = [_row("serum", kind, [0.25], [60.0], before=45.25)]
  (line,) = interference_tables.misleading(rows, "mae")
  assert line.startswith(
    "serum: moves 25.0 % of predictions across the training mean when "
  )
  assert line.endswith("(MAE 45.250 → 60.000 in the unit of the target)")
  assert "decision" not in line and "class" not in line
