"""Adds a header to each response. The classes are those of the world in wit/world.wit."""

from time import perf_counter

import wit_world
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import handler
from wit_world.imports.wasi_http_types import Request, Response


def timing(seconds: float) -> str:
    """The value of the header `server-timing`."""
    return f"origin;dur={seconds * 1000:.1f}"


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        start = perf_counter()
        response = await handler.handle(request)
        return add_header(response, "server-timing", timing(perf_counter() - start))


def add_header(response: Response, name: str, value: str) -> Response:
    """A response with one more header; its body is passed on without being read."""
    status = response.get_status_code()
    headers = response.get_headers().clone()  # those of a response that was received cannot be changed
    headers.append(name, value.encode())
    received = wit_world.result_unit_wasi_http_types_error_code_future(lambda: Ok(None))[1]
    body, trailers = Response.consume_body(response, received)
    answer, _sent = Response.new(headers, body, trailers)
    answer.set_status_code(status)
    return answer


class WitWorld(wit_world.WitWorld):
    def test_timing(self) -> None:
        expect(timing(0.01234), "origin;dur=12.3")


def expect(actual: object, expected: object) -> None:
    if actual != expected:
        raise Err(f"expected {expected!r}, got {actual!r}")
