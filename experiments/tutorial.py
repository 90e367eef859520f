"""A tutorial: which modality counts, on arrays in memory.

Run the cells one by one in an editor that knows `# %%`, or all of them:

  python -m experiments.tutorial

It takes about two minutes on two cores, and writes into the folder `tutorial`.
"""

# %% Three modalities of handwritten digits. One of them is pure noise.
import numpy as np
from sklearn import datasets
from sklearn import model_selection

import btw_jax
from btw_jax import predictions
from btw_jax import weighting

images, labels = datasets.load_digits(return_X_y=True)
noise = np.random.default_rng(0).normal(size=(len(labels), 16))
modalities = btw_jax.Modalities(
  {"upper": images[:, :32], "lower": images[:, 32:], "noise": noise}
)
train, test, train_labels, test_labels = model_selection.train_test_split(
  modalities, labels, train_size=500, random_state=0, stratify=labels
)

# %% Train a model for each modality, and the multimodal model with weightings.
# Every flag of `btw-jax train` is a keyword.
result = btw_jax.fit(
  train,
  train_labels,
  test=(test, test_labels),
  weighting="uniform,gate,auto",
  num_seeds=2,
  num_epochs=20,
)
print(result)

# %% What each modality tells, and whether the model needs it.
for modality, tests in result.results["information"].items():
  verdict = "idle" if tests["idle"] else "needed"
  print(f"{modality}: {verdict}, tells {tests['alone']['rise']:.2f} nats alone")

# %% Predict new examples. They need no labels.
probs = result.predict(test)  # [N, classes]
print("probabilities", probs.shape, "of", result.classes)
print("accuracy", result.score(test, test_labels))
print("first decisions", result.decide(test)[:5])

# %% An example may lack a modality: a row of NaN, None or a mask says so.
present = np.arange(len(test)) % 2 == 0
partial = btw_jax.Modalities(
  {name: test[name] for name in result.modalities}, present={"lower": present}
)
print("accuracy without half of `lower`", result.score(partial, test_labels))
print("weights of the first two", result.weigh(partial)[:2], sep="\n")

# %% Use the tools of scikit-learn.
classifier = btw_jax.Classifier(num_seeds=1, num_epochs=15, num_exchanges=0)
scores = model_selection.cross_val_score(classifier, train, train_labels, cv=2)
print("cross-validated accuracy", scores)

# %% Keep the models. The folder is what `btw-jax train` leaves.
result.save("tutorial/run")
loaded = btw_jax.load("tutorial/run")
print("the same predictions:", np.array_equal(loaded.predict(test), probs))
loaded.report("tutorial/report.html")
loaded.plot("tutorial/training.png")

# %% Weight the modalities of models that are not ours, by their predictions.
logits = np.stack([np.log(loaded.predict(test, seed=s)) for s in (0, 1)])
weights = weighting.weigh(
  predictions.Categorical(logits), predictions.Categorical(np.log(probs))
)
print("weights of two models for the first example", weights[0])
