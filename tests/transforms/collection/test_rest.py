"""What is left of a source, as engines keep it."""

import json

import pytest

from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.rest import FORMAT, Rest, RestCoder
from transforms.time.watermark import Progress

RESTS = [
    Rest(0, None),
    Rest(7, Progress(5, 6, {"a": (1, 2)}), 70, 1.5, True, 4, 3, 9, None, True),
    Rest(3, KafkaProgress(-9, 8).beginning_at({0: 4, 11: 5}), 9, began={"0": 4, "11": 5}),
]


@pytest.mark.parametrize("rest", RESTS)
def test_a_rest_comes_back_as_it_was(rest: Rest) -> None:
    assert RestCoder().decode(RestCoder().encode(rest)) == rest


def test_a_savepoint_of_a_newer_version_is_refused() -> None:
    newer = {**json.loads(RestCoder().encode(RESTS[0])), "format": FORMAT + 1}
    with pytest.raises(ValueError, match="newer version"):
        RestCoder().decode(json.dumps(newer).encode())
