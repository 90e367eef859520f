import numpy as np
import pytest
from scipy import stats

from btw_jax.training import selection

STRENGTHS = (0.25, 0.5, 0.75, 1.0)


def _settings(plan, name):
  return [plan.specs[i][:2] for i in plan.candidates[name]]


def test_runs_that_agree_are_trained_once():
  plan = selection.plan(("uniform", "mi", "kl", "auto"), [1.0], 0.5)
  assert len(plan.specs) == len(set(plan.specs)) == 11
  assert plan.specs[0][:3] == ("uniform", 0.0, 0.5)
  assert plan.variants == ("uniform", "kl", "mi", "kl+mi")
  (mi,) = plan.candidates["mi"]
  assert plan.specs[mi][:3] == ("mi", 1.0, 0.5)
  auto = _settings(plan, "auto")
  assert auto[:2] == [("uniform", 0.0), ("gate", 1.0)]
  assert set(auto[2:]) == {(v, s) for v in ("mi", "kl+mi") for s in STRENGTHS}


def test_auto_strength_gives_every_weighting_its_grid():
  plan = selection.plan(("kl",), ["auto"], 1.0)
  assert plan.gate is None
  assert _settings(plan, "kl") == [
    ("uniform", 0.0),
    *(("kl", s) for s in STRENGTHS),
  ]


def test_each_of_several_strengths_makes_a_weighting():
  plan = selection.plan(("uniform", "mi", "auto"), [0.5, 1.0, "auto"], 1.0)
  assert list(plan.candidates) == [
    "uniform",
    "mi@0.5",
    "mi@1",
    "mi@auto",
    "auto",
  ]
  assert _settings(plan, "mi@0.5") == [("mi", 0.5)]
  assert _settings(plan, "mi@1") == [("mi", 1.0)]
  assert len(plan.candidates["mi@auto"]) == 5
  assert len(plan.specs) == 10


def test_the_gate_is_trained_last_and_only_if_it_closes_something():
  plan = selection.plan(("gate", "mi", "auto"), [1.0], 1.0)
  assert plan.gate == plan.specs[-1] not in plan.ungated
  assert len(plan.ungated) == len(plan.specs) - 1
  closing = plan.with_gate((True, False))
  assert closing.gate.is_open == (True, False)
  assert closing.candidates == plan.candidates
  assert _settings(closing, "gate") == [("uniform", 0.0), ("gate", 1.0)]
  opened = plan.with_gate((True, True))
  assert opened.gate is None and opened.specs == plan.ungated
  assert _settings(opened, "gate") == [("uniform", 0.0)]
  assert ("gate", 1.0) not in _settings(opened, "auto")
  without = selection.plan(("mi",), [1.0], 1.0)
  assert without.with_gate((True, False)) == without


BALANCING = selection.Balancing({"ogm": [0.3, 0.1], "mla": [0.5, 5.0]})


def _values(plan, name):
  return [plan.specs[i].value for i in plan.candidates[name]]


def test_a_balancing_method_is_a_row_that_chooses_its_own_value():
  plan = selection.plan(
    ("mi", "gate"), [1.0], 0.5, balancing=BALANCING, rate=0.1, num_tuned=2
  )
  assert list(plan.candidates) == ["mi", "gate", "ogm", "mla"]
  assert _values(plan, "ogm") == [0.3, 0.1]
  assert _values(plan, "mla") == [0.5, 5.0]
  # Full strength first; uniform is no candidate.
  assert _settings(plan, "mi") == [("mi", 1.0), ("mi", 0.5)]
  assert all(s.rate == 0.1 and s.scale == 0.5 for s in plan.specs)
  # Methods follow the weightings, each in one piece, the gate is last.
  order = [s.balance or s.variant for s in plan.specs]
  assert order == ["uniform", "mi", "mi", "ogm", "ogm", "mla", "mla", "gate"]
  assert len(plan.weighted) == 3
  assert {name: len(of) for name, of in plan.balanced.items()} == {
    "ogm": 2, "mla": 2
  }  # fmt: skip
  tuned = {name: plan.is_tuned(name) for name in plan.candidates}
  assert tuned == {"mi": True, "gate": False, "ogm": True, "mla": True}


def test_one_candidate_is_not_tuned():
  balancing = selection.Balancing({"ogm": [0.3]})
  plan = selection.plan(("mi", "uniform"), [1.0], 1.0, balancing=balancing)
  assert not any(map(plan.is_tuned, plan.candidates))
  # A strength that is chosen with uniform as the first one is not tuned.
  assert not selection.plan(("kl",), ["auto"], 1.0).is_tuned("kl")


def test_without_balance_the_plan_is_that_of_the_weightings():
  arguments = (("mi", "gate", "auto"), [1.0], 1.0)
  plan = selection.plan(*arguments, balancing=BALANCING)
  without = plan.with_methods(())
  assert without == selection.plan(*arguments)
  assert without.with_methods(()) == without
  assert plan.with_methods(plan.balanced) == plan


def test_each_of_several_values_makes_a_row():
  balancing = BALANCING._replace(separate=True)
  plan = selection.plan(("uniform",), [1.0], 1.0, balancing=balancing)
  rows = ["ogm@0.3", "ogm@0.1", "mla@0.5", "mla@5"]
  assert list(plan.candidates) == ["uniform", *rows]
  assert [_values(plan, name) for name in rows] == [[0.3], [0.1], [0.5], [5.0]]
  assert not any(map(plan.is_tuned, rows))


def test_methods_are_trained_with_every_weighting_that_is_asked_for():
  balancing = selection.Balancing({"ogm": [0.3]}, ("uniform", "kl+mi"))
  plan = selection.plan(("uniform",), [1.0], 1.0, balancing=balancing)
  assert list(plan.candidates) == ["uniform", "ogm", "kl+mi-ogm"]
  assert _settings(plan, "kl+mi-ogm") == [("kl+mi", 1.0)]
  assert _settings(plan, "ogm") == [("uniform", 0.0)]
  assert [s.balance for s in plan.specs] == ["", "ogm", "ogm"]
  assert plan.variants == ("uniform", "kl+mi")


def test_strengths_to_tune_are_spaced_evenly_from_full_strength():
  plan = selection.plan(("kl",), ["auto"], 1.0, num_tuned=5)
  strengths = [strength for _, strength in _settings(plan, "kl")]
  np.testing.assert_allclose(strengths, [1.0, 0.8, 0.6, 0.4, 0.2])


def _validation(loss, score=None, examples=None, sign=1):
  loss = np.asarray(loss, float)
  if score is None:
    score = np.zeros(loss.shape)
  if examples is None:
    examples = np.broadcast_to(np.arange(loss.shape[2]), loss.shape[1:])
  where = np.ones(loss.shape[1:], bool)
  return selection.Validation(loss, score, examples, where, sign)


def _with_gains(*gains, num_seeds=4, number=25, spread=1.0, seed=0):
  """Makes losses whose paired differences have these means exactly."""
  rng = np.random.default_rng(seed)
  base = 10 * rng.random((num_seeds, number))
  losses = [base]
  for gain in gains:
    difference = spread * rng.normal(size=base.shape)
    losses.append(base + difference - difference.mean() - gain)
  return np.stack(losses)


def test_a_gain_must_exceed_its_standard_error():
  # The standard error of 100 values with a spread of 1 is about .1.
  assert selection.select(_validation(_with_gains(0.02)), [0, 1]) == 0
  assert selection.select(_validation(_with_gains(0.3)), [0, 1]) == 1
  assert selection.select(_validation(_with_gains(-0.3)), [0, 1]) == 0


def test_pairing_removes_what_examples_and_seeds_share():
  assert (
    selection.select(_validation(_with_gains(0.01, spread=0.001)), [0, 1]) == 1
  )


def test_seeds_that_share_examples_do_not_confirm_each_other():
  """A few examples give the same gain in all seeds."""
  difference = np.zeros((1, 10))
  difference[0, 0] = -1.0
  shared = np.stack([np.zeros((10, 10)), np.repeat(difference, 10, axis=0)])
  # mean −.1, standard error over 10 examples .1: no gain.
  assert selection.select(_validation(shared), [0, 1]) == 0
  drawn = np.arange(100).reshape(10, 10)
  # The same values on 100 different examples are a gain.
  assert selection.select(_validation(shared, examples=drawn), [0, 1]) == 1


def test_the_more_candidates_the_larger_a_gain_must_be():
  assert selection.family_errors(1) == pytest.approx(1.0)
  # One in C candidates exceeds the errors of C with the same chance.
  for count in (2, 9):
    tail = stats.norm.sf(selection.family_errors(count))
    assert count * tail == pytest.approx(stats.norm.sf(1.0))
  losses = _with_gains(0.15, *[-1.0] * 8)
  assert selection.select(_validation(losses), [0, 1]) == 1
  assert selection.select(_validation(losses), range(10)) == 0
  # A scale needs no more than one standard error, however many there are.
  assert selection.select_own(_validation(losses), range(10)) == 1


def test_a_lower_loss_must_not_cost_decisions():
  losses = _with_gains(0.5, 0.4)
  score = np.zeros(losses.shape)
  # A mean of −.02 is a loss of more than half a point.
  score[1, 0, :2] = -1.0
  assert selection.select(_validation(losses, score), [0, 1, 2]) == 2
  assert selection.select_own(_validation(losses, score), [0, 1, 2]) == 1
  # An error that falls by as much is no loss, and certain enough.
  fallen = np.zeros(losses.shape)
  fallen[1] = -1.0
  falls = _validation(losses, fallen, sign=-1)
  assert selection.select(falls, [0, 1, 2]) == 1


def test_a_loss_of_decisions_must_be_excluded_not_just_unseen():
  """As many decisions get better as worse."""
  losses, score = _with_gains(0.5), np.zeros((2, 4, 25))
  score[1, :, 0], score[1, :, 1] = 1.0, -1.0
  # Over 25 examples the standard error of 0 gain is above a half point.
  assert selection.select(_validation(losses, score), [0, 1]) == 0
  number = 4000
  losses = _with_gains(0.5, number=number)
  score = np.zeros(losses.shape)
  score[1, :, 0], score[1, :, 1] = 1.0, -1.0
  # Over 4,000 examples it is far below.
  assert selection.select(_validation(losses, score), [0, 1]) == 1


@pytest.mark.parametrize(
  ("loss", "gain", "expected"),
  [
    (-0.5, 0.0, True),
    (0.009, 0.0, True),  # Within its standard error of .01.
    (0.011, 0.0, False),
    (-0.5, -0.004, True),  # May lose .004 + .001, the margin.
    (-0.5, -0.005, False),
    (np.nan, 0.0, False),
  ],
)
def test_the_gate_is_kept_unless_it_may_do_harm(loss, gain, expected):
  difference = selection.Difference(loss, 0.01, gain, 0.001)
  assert selection.confirms_gate(difference) == expected


def test_a_candidate_without_finite_losses_is_not_kept():
  losses = _with_gains(0.5)
  losses[1, 2] = np.nan
  assert selection.select(_validation(losses), [0, 1]) == 0


def test_the_first_position_may_be_any():
  losses = np.stack([np.full((2, 5), v) for v in (9.0, 1.0, 2.0)])
  assert selection.select(_validation(losses), [2, 0]) == 2
  assert selection.select(_validation(losses), [0, 2, 1]) == 1
