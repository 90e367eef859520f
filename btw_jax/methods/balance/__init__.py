"""Methods that balance modalities in training, as hooks of the trainer.

`catalog` names them. Each module holds one method: a class `Method`, with the
setting that it is tuned by. `base` has what they share, `passes` the passes
with some of the modalities alone that most of them compare.
"""
