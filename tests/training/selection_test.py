import numpy as np

from btw_jax.training import selection


def test_runs_that_agree_are_trained_once():
  plan = selection.plan(("uniform", "mi", "kl", "auto"), [1.0], 0.5)
  assert len(plan.specs) == len(set(plan.specs)) == 10
  assert plan.specs[0] == ("uniform", 0.0, 0.5)
  assert plan.variants == ("uniform", "kl", "mi", "kl+mi")
  (mi,) = plan.candidates["mi"]
  assert plan.specs[mi] == ("mi", 1.0, 0.5)
  assert plan.candidates["auto"][0] == 0
  candidates = {plan.specs[i][:2] for i in plan.candidates["auto"][1:]}
  assert candidates == {
    (v, s) for v in ("mi", "kl+mi") for s in (0.25, 0.5, 0.75, 1.0)
  }


def test_auto_strength_gives_every_weighting_its_grid():
  plan = selection.plan(("kl",), ["auto"], 1.0)
  candidates = [plan.specs[i][:2] for i in plan.candidates["kl"]]
  assert candidates == [
    ("uniform", 0.0),
    *(("kl", s) for s in (0.25, 0.5, 0.75, 1.0)),
  ]


def test_each_of_several_strengths_makes_a_weighting():
  plan = selection.plan(("uniform", "mi", "auto"), [0.5, 1.0, "auto"], 1.0)
  named = {
    name: [plan.specs[i][:2] for i in indices]
    for name, indices in plan.candidates.items()
  }
  assert list(named) == ["uniform", "mi@0.5", "mi@1", "mi@auto", "auto"]
  assert named["mi@0.5"] == [("mi", 0.5)]
  assert named["mi@1"] == [("mi", 1.0)]
  assert len(named["mi@auto"]) == 5
  assert len(plan.specs) == 9


def test_a_gain_within_its_spread_is_not_taken():
  losses = np.array(
    [
      [1.0, 2.0, 3.0, 4.0],
      [0.5, 2.3, 2.5, 4.6],  # mean −.025, standard error about .27
      [0.9, 1.9, 2.9, 3.9],  # mean −.1, no spread
      [0.4, 2.4, 1.4, 4.4],  # mean −.35, standard error about .49
    ]
  )
  assert selection.select(losses[:2], [0, 1]) == 0
  assert selection.select(losses, [0, 1, 2, 3]) == 2
  assert selection.select(losses, [0, 1, 3]) == 0
  assert selection.select(losses, [3]) == 3


def test_pairing_removes_what_seeds_share():
  hard = np.linspace(0, 100, 6)
  losses = np.stack([hard, hard - 0.01])
  assert selection.select(losses, [0, 1]) == 1


def test_one_seed_goes_by_the_least_loss():
  assert selection.select(np.array([[1.0], [0.99]]), [0, 1]) == 1


def test_the_first_position_may_be_any():
  losses = np.array([[9.0, 9.0], [1.0, 1.0], [2.0, 2.0]])
  assert selection.select(losses, [2, 0]) == 2
