"""Greets its first argument. The classes are those of the world in wit/world.wit."""

import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import environment


def greeting(name: str) -> str:
    return f"Hello, {name or 'world'}!"


class Run(exports.Run):
    async def run(self) -> None:
        _program, *arguments = environment.get_arguments()
        print(greeting(arguments[0] if arguments else ""))


class WitWorld(wit_world.WitWorld):
    def test_greets_by_name(self) -> None:
        expect(greeting("Ada"), "Hello, Ada!")

    def test_greets_the_world(self) -> None:
        expect(greeting(""), "Hello, world!")


def expect(actual: object, expected: object) -> None:
    if actual != expected:
        raise Err(f"expected {expected!r}, got {actual!r}")
