"""The paragraph over all data sets is tested on results of known truth."""

from btw_jax.reports import overall
from btw_jax.reports import page
from btw_jax.reports import results
from support import run_files
from support import studies


def _clear(gain, seed=0):
  return gain + studies.noise(abs(gain) / 10, seed)


def _one(**options):
  return studies.problem(
    {
      "kl": (_clear(0.03, 1), _clear(-0.1, 2)),
      "ogm": (_clear(0.02, 3), 0.0),
      "agm": (_clear(-0.02, 4), 0.0),
    },
    name="one",
    **options,
  )


def test_it_says_what_beats_the_uniform_model_and_what_does_not():
  seconds = {"rate": 0.5, "multimodal": 0.6, "ogm": 1.0}
  one = _one(tune=2, epoch_seconds=seconds)
  two = studies.problem(
    {"kl": (studies.noise(0.01, 1), 0.0), "ogm": (_clear(0.05, 2), 0.0)},
    name="two",
    tune=2,
  )
  two.methods["ogm"].row["choice"]["value"] = 0.9
  (text,) = overall.paragraphs([one, two])
  assert text.startswith(
    "In short (one and two): 3 methods are compared with the uniform model,"
    " whose learning rate was tuned from 2 candidates. P-values are corrected"
    " for the methods of each data set (Holm). The cost is the time of an"
    " epoch, relative to that of the uniform model."
  )
  # The least p of ten seeds is 2/1024, times the methods of a data set.
  assert (
    "Significantly better in accuracy: kl on one (+3.00 points, p = .006, cost"
    " 1.2); ogm on one (+2.00 points, p = .006, cost 2.0) and on two (+5.00"
    " points, p = .004)."
  ) in text
  assert (
    "Significantly worse in accuracy: agm on one (-2.00 points, p = .006)."
  ) in text
  assert (
    "Significantly worse in NLL: kl on one (+0.100 nats, p = .006). No method"
    " is significantly better than the uniform model in NLL on any data set."
  ) in text
  assert text.endswith(
    "Chosen by the validation loss: uniform: learning rate 0.002; kl: λ = 0.5;"
    " ogm: α = 0.6 on one and α = 0.9 on two; agm: α = 2 on one."
  )


def test_it_says_plainly_that_nothing_is_better():
  names = ("kl", "ogm")
  problem = studies.problem({n: (studies.noise(0.01, 1), 0.0) for n in names})
  (text,) = overall.paragraphs([problem])
  assert text == (
    "In short (made): 2 methods are compared with the uniform model. P-values"
    " are corrected for the methods of each data set (Holm). No method is"
    " significantly better or worse than the uniform model in accuracy. No"
    " method is significantly better or worse than the uniform model in NLL."
  )


def test_it_says_where_nothing_can_be_significant():
  problem = studies.problem({"kl": (0.1, 0.0)})
  problem.base.run.results["seeds"] = [0, 1, 2]
  (text,) = overall.paragraphs([problem])
  assert (
    "There are too few seeds for so many methods on made: no difference"
    " can be significant there."
  ) in text


def test_it_names_baselines_apart():
  baselines = {"ensemble": (_clear(0.04), 0.0), "best modality (a)": (0, 0.1)}
  problem = studies.problem({"ogm": (0.0, 0.0)}, baselines=baselines)
  (text,) = overall.paragraphs([problem])
  assert (
    "Without further training, significantly better in accuracy: ensemble on"
    " made (+4.00 points, p = .004)."
  ) in text
  assert "best modality" not in text
  assert "No method is significantly better or worse than the" in text


def test_it_stands_at_the_top_of_the_report(tmp_path):
  one = _one()
  one.methods["kl"].run.results["task"] = "multiclass"
  (text,) = overall.paragraphs([one])
  assert results.markdown([one]).split("\n\n")[:2] == [
    "# Which method to use", text
  ]  # fmt: skip
  run = run_files.write(tmp_path / "one", one)
  written = one._replace(
    methods={k: m._replace(run=run) for k, m in one.methods.items()}
  )
  html = page.write([written])
  heading = html.index('<h2 id="advice">Which method to use, and what it costs')
  start = html.index(f"<p>{text}</p>")
  assert heading < start < html.index('<p class="advice">')
  assert "Does weighting or balancing the modalities help?" in html
  assert overall.paragraphs([studies.problem({})]) == []


def test_many_choices_are_left_to_the_tables():
  nothing = (0.0, 0.0)
  names = [*studies.BALANCED, "kl", "mi"]
  problem = studies.problem(dict.fromkeys(names, nothing), tune=2)
  (text,) = overall.paragraphs([problem])
  assert "The tables of the settings say what each method chose." in text
  assert "Chosen by" not in text
  few = studies.problem({"ogm": nothing}, tune=2)
  assert "Chosen by the validation loss" in overall.paragraphs([few])[0]
