"""What chance decides of a life."""

from dataclasses import dataclass
from random import Random

from transforms.collection.control import FINISH, STOP

DRAIN = "drain"


@dataclass(frozen=True)
class Plan:
    """Of how many shards a life is, what it reads of the log, how it ends, and how likely it does each thing next."""

    shards: int
    visible: int
    ending: str
    busy: float
    keeps: float
    most_chunks: int
    saves: float = 0.0
    """How likely the engine keeps a checkpoint of its own after a step."""

    @staticmethod
    def at_random(chance: Random, chunks: int) -> "Plan":
        return Plan(
            shards=chance.randint(1, 3),
            visible=chunks if chance.random() < 0.75 else chance.randint(1, chunks),
            ending=chance.choice([STOP, DRAIN, FINISH]),
            busy=chance.choice([0.05, 0.2, 0.6]),
            keeps=chance.choice([0.05, 0.3, 1.0]),
            most_chunks=chance.choice([1, 2, 5]),
        )
