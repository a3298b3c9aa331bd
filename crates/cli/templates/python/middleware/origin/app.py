"""What the middleware passes requests on to, in place of your own service."""

import wit_world
from componentize_py_async_support import spawn
from componentize_py_async_support.streams import ByteStreamWriter
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import Fields, Request, Response


class Handler(exports.Handler):
    async def handle(self, request: Request) -> Response:
        writer, body = wit_world.byte_stream()
        no_trailers = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))[1]
        headers = Fields.from_list([("content-type", b"text/plain; charset=utf-8")])
        spawn(write(writer, b"Hello from {{name}}!"))
        return Response.new(headers, body, no_trailers)[0]


async def write(writer: ByteStreamWriter, data: bytes) -> None:
    with writer:
        await writer.write_all(data)
