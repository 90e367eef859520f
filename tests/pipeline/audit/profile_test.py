"""A profile reads audits, and correlates interactions with accuracy lost."""

import json

import numpy as np
import pytest
from scipy import stats

from btw_jax import errors
from btw_jax.pipeline.audit import profile


def _row(task, atoms, accuracy, first="vision", second="text"):
  names = ("redundant", "unique1", "unique2", "synergistic")
  return {
    "task": task,
    "first": first,
    "second": second,
    "control": "",
    "num_answered": 100,
    "atoms": None
    if atoms is None
    else {n: {"mean": a} for n, a in zip(names, atoms, strict=True)},
    "accuracy": accuracy,
  }


def _accuracy(both, first, second):
  return {"both": both, "first": first, "second": second}


def _write(folder, rows):
  folder.mkdir(exist_ok=True)
  (folder / "audit.json").write_text(json.dumps({"interactions": rows}))
  return str(folder)


def test_points_are_audits_or_their_tasks(tmp_path):
  whole = _row("", (0.1, 0.2, 0.3, 0.4), _accuracy(0.9, 0.6, 0.5))
  one = _write(tmp_path / "one", [whole])
  two = _write(
    tmp_path / "two",
    [
      whole,
      _row("maths", (1, 2, 3, 4), _accuracy(0.8, 0.3, 0.7)),
      _row("few", None, _accuracy(0.8, 0.3, 0.7)),
    ],
  )
  points = profile.read([one, two])
  assert [(p["audit"], p["task"]) for p in points] == [
    ("one", ""), ("two", "maths"),
  ]  # fmt: skip
  # Without the first source, only the second is left.
  assert points[0]["lost_first"] == pytest.approx(0.9 - 0.5)
  assert points[1]["lost_second"] == pytest.approx(0.8 - 0.3)
  assert points[1]["synergistic"] == 4


def test_the_order_of_the_sources_may_differ(tmp_path):
  one = _write(
    tmp_path / "one",
    [_row("", (0.1, 0.2, 0.3, 0.4), _accuracy(0.9, 0.6, 0.5))],
  )
  two = _write(
    tmp_path / "two",
    [
      _row("", (0.1, 0.3, 0.2, 0.4), _accuracy(0.9, 0.5, 0.6), "text", "vision")
    ],
  )
  first, second = profile.read([one, two])
  assert first | {"audit": ""} == second | {"audit": ""}


def test_the_pair_that_all_have_is_compared(tmp_path):
  accuracy = _accuracy(0.9, 0.6, 0.5)
  several = [
    _row("", (9, 9, 9, 9), accuracy, "audio", "text"),
    _row("", (1, 2, 3, 4), accuracy, "text", "vision"),
  ]
  one = _write(tmp_path / "one", several)
  two = _write(tmp_path / "two", [_row("", (5, 6, 7, 8), accuracy)])
  points = profile.read([one, two])
  assert [(p["first"], p["synergistic"]) for p in points] == [
    ("text", 4), ("text", 8),
  ]  # fmt: skip
  (point,) = profile.read([one], ["text", "audio"])
  assert (point["first"], point["synergistic"]) == ("text", 9)
  for folders, sources, message in (
    ([one, f"{one}/"], (), "has a folder twice"),
    ([], (), "--audits=: is empty"),
    ([one], ["text"], "--sources=text: name two"),
    ([one, two], ["text", "audio"], "not all have the sources text and audio"),
  ):
    with pytest.raises(errors.InputError, match=message):
      profile.read(folders, sources)


@pytest.mark.training
def test_correlations_are_spearmans(tmp_path):
  rng = np.random.default_rng(0)
  folders = []
  for number in range(6):
    atoms = rng.random(4).tolist()
    accuracy = _accuracy(0.9, rng.random() / 2, 0.9 - atoms[3] / 2)
    folders.append(_write(tmp_path / f"m{number}", [_row("", atoms, accuracy)]))
  points = profile.read(folders)
  rows = {(r["atom"], r["lost"]): r for r in profile.correlate(points)}
  assert len(rows) == 8
  synergy = rows["synergistic", "lost_first"]
  assert synergy["rho"] == pytest.approx(1)
  # Of 720 orders, one gives 1 and one -1.
  assert synergy["p_value"] == pytest.approx(2 / 720)
  for (atom, lost), row in rows.items():
    expected = stats.spearmanr(
      [p[atom] for p in points], [p[lost] for p in points]
    )
    assert row["rho"] == pytest.approx(expected.statistic)
  text = profile.write(folders, str(tmp_path / "profile"))
  assert "| only both (S)     | vision                  | +1.00" in text
  assert {path.name for path in (tmp_path / "profile").iterdir()} == {
    "profile.md", "profile.csv", "profile.json", "profile.png",
  }  # fmt: skip


def test_few_points_have_no_correlation(tmp_path):
  row = _row("", (0.1, 0.2, 0.3, 0.4), _accuracy(0.9, 0.6, 0.5))
  folder = _write(tmp_path / "one", [row])
  assert profile.correlate(profile.read([folder])) == []
  assert "too few" in profile.write([folder], str(tmp_path / "profile"))


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    (None, "audit.json: cannot be read .*: name the folder that btw-jax audi"),
    ([], "has no interactions"),
    ([_row("", (1, 1, 1, 1), None)], "has no accuracy"),
    (
      [_row("", (1, 1, 1, 1), _accuracy(1, 1, 1), "audio")],
      "not all have the same pair: .*good has vision and text; .*bad has audio",
    ),
  ],
)
def test_wrong_folders_are_named(tmp_path, rows, message):
  good = _write(tmp_path / "good", [_row("", (1, 1, 1, 1), _accuracy(1, 1, 1))])
  bad = str(tmp_path / "bad")
  if rows is not None:
    _write(tmp_path / "bad", rows)
  with pytest.raises(errors.InputError, match=message):
    profile.write([good, bad], str(tmp_path / "profile"))
  assert not (tmp_path / "profile").exists()
