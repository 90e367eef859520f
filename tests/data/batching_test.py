from btw_jax.data import batching


def test_modalities_of_one_shape_share_a_group():
  groups = batching.groups((4, 0, 4, 6, 4), (3, 3, 3, 3, 2))
  assert groups == ((0, 2), (3,), (4,))
