"""Answers HTTP requests. The functions are those of the world in wit/world.wit."""

import wit_world
from componentize_py_async_support import spawn
from componentize_py_async_support.streams import ByteStreamWriter
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import greeter
from wit_world.imports.wasi_http_types import Fields, Request, Response


def greeting(path: str) -> str | None:
    """The text for a path, or None if there is none."""
    if path == "/":
        return "Hello from {{name}}!"
    if path.startswith("/hello/"):
        return greeter.greet(path.removeprefix("/hello/"))
    return None


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        path, _, _query = (request.get_path_with_query() or "/").partition("?")
        text = greeting(path)
        if text is None:
            return respond(404, "Not found")
        return respond(200, text)


def respond(status: int, text: str) -> Response:
    writer, body = wit_world.byte_stream()
    no_trailers = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))[1]
    headers = Fields.from_list([("content-type", b"text/plain; charset=utf-8")])
    response, _sent = Response.new(headers, body, no_trailers)
    response.set_status_code(status)
    spawn(write(writer, text.encode()))
    return response


async def write(writer: ByteStreamWriter, data: bytes) -> None:
    with writer:
        await writer.write_all(data)


class WitWorld(wit_world.WitWorld):
    def test_greets(self) -> None:
        expect(greeting("/"), "Hello from {{name}}!")

    def test_greets_by_name(self) -> None:
        expect(greeting("/hello/Ada"), "Hello, Ada!")

    def test_unknown_path(self) -> None:
        expect(greeting("/nowhere"), None)


def expect(actual: object, expected: object) -> None:
    if actual != expected:
        raise Err(f"expected {expected!r}, got {actual!r}")
