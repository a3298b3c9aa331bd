"""Runs on a schedule. The classes are those of the world in wit/world.wit."""

from datetime import datetime, timezone

import wit_world
from componentize_py_types import Err
from wit_world import exports


def message(time: datetime) -> str:
    return f"{{name}} ran at {time.isoformat(timespec='seconds')}"


class Run(exports.Run):
    async def run(self) -> None:
        print(message(datetime.now(timezone.utc)))


class WitWorld(wit_world.WitWorld):
    def test_message(self) -> None:
        expect(message(datetime(2030, 1, 2, tzinfo=timezone.utc)), "{{name}} ran at 2030-01-02T00:00:00+00:00")


def expect(actual: object, expected: object) -> None:
    if actual != expected:
        raise Err(f"expected {expected!r}, got {actual!r}")
