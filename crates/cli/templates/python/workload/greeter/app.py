"""Greets. The classes are those of the world in wit/world.wit."""

import wit_world
from componentize_py_types import Err
from wit_world import exports


class Greeter(exports.Greeter):
    def greet(self, name: str) -> str:
        return f"Hello, {name or 'world'}!"


class WitWorld(wit_world.WitWorld):
    def test_greets_by_name(self) -> None:
        expect(Greeter().greet("Ada"), "Hello, Ada!")

    def test_greets_the_world(self) -> None:
        expect(Greeter().greet(""), "Hello, world!")


def expect(actual: object, expected: object) -> None:
    if actual != expected:
        raise Err(f"expected {expected!r}, got {actual!r}")
