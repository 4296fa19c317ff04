"""Questions that brokers answer, or not yet, or never."""

import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from transforms.systems.kafka import answered


class Brokers:
    """Answer with these errors, and then with the seconds that were left."""

    def __init__(self, *errors: int):
        self.errors = list(errors)
        self.asked = 0

    def __call__(self, left: float) -> float:
        self.asked += 1
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return left


def test_a_partition_that_moves_is_asked_about_again() -> None:
    brokers = Brokers(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
    assert 0 < answered(brokers, time.monotonic() + 5) < 5
    assert brokers.asked == 3


def test_what_does_not_pass_is_raised_at_once() -> None:
    brokers = Brokers(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException):
        answered(brokers, time.monotonic() + 5)
    assert brokers.asked == 1


def test_patience_ends() -> None:
    with pytest.raises(KafkaException):
        answered(Brokers(*[KafkaError.NOT_LEADER_FOR_PARTITION] * 100), time.monotonic() + 0.3)
