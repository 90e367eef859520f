import hypothesis
from hypothesis import strategies as st
import numpy as np
from tensorflow_datasets.proto import tf_example_pb2
from tensorflow_datasets.proto import tf_feature_pb2

from btw_jax.data import tf_example

FEATURE = st.one_of(
  st.binary(max_size=300).map(
    lambda v: tf_feature_pb2.Feature(
      bytes_list=tf_feature_pb2.BytesList(value=[v])
    )
  ),
  st.lists(st.floats(width=32), max_size=40).map(
    lambda v: tf_feature_pb2.Feature(
      float_list=tf_feature_pb2.FloatList(value=v)
    )
  ),
  st.lists(st.integers(0, 2**40), max_size=40).map(
    lambda v: tf_feature_pb2.Feature(
      int64_list=tf_feature_pb2.Int64List(value=v)
    )
  ),
)


@hypothesis.given(st.dictionaries(st.text(max_size=20), FEATURE, max_size=6))
def test_fields_lie_where_protobuf_finds_them(features):
  record = tf_example_pb2.Example(
    features=tf_feature_pb2.Features(feature=features)
  ).SerializeToString()
  spans = tf_example.parse(record)
  assert set(spans) == set(features)
  for name, feature in features.items():
    start, end = spans[name]
    kind = feature.WhichOneof("kind")
    value = getattr(feature, kind).value
    if kind == "bytes_list":
      assert record[start:end] == value[0]
    elif kind == "float_list":
      np.testing.assert_array_equal(
        np.frombuffer(record[start:end], np.float32), value
      )
    else:
      # Protobuf decodes the same bytes.
      packed = record[start:end]
      again = tf_feature_pb2.Int64List.FromString(
        b"\n" + _varint(len(packed)) + packed
      )
      assert list(again.value) == list(value)


def _varint(value):
  code = []
  while value > 127:
    code.append(value & 127 | 128)
    value >>= 7
  return bytes([*code, value])


@hypothesis.given(st.binary(min_size=1, max_size=60))
def test_other_bytes_are_refused_or_found_nothing_in(record):
  try:
    spans = tf_example.parse(record)
  except (ValueError, IndexError):
    return
  assert all(isinstance(name, str) for name in spans)
