// Responses of wasi:http.
import types, { type Body, type Response } from "wasi:http/types@0.3.0";

/** A response with a text. */
export function text(body: string, status = 200): Response {
  return respond(status, { "content-type": "text/plain; charset=utf-8" }, utf8(body));
}

/** A response: `body` is all of its bytes, or an iterable of chunks. */
export function respond(status: number, headers: Record<string, string>, body: Body): Response {
  const fields = types.Fields.fromList(Object.entries(headers).map(([name, value]) => [name, utf8(value)]));
  const trailers = wit.Future.from({ tag: "ok", val: null }, wit.Future.RESULT_OPTION_OTHER_ERROR_CODE);
  const [response] = types.Response.new(fields, body, trailers.readable);
  response.setStatusCode(status);
  return response;
}

/** The bytes of a text in UTF-8. QuickJS has no TextEncoder. */
export function utf8(text: string): Uint8Array {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));
}
