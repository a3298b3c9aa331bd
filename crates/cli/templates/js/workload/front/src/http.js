// Responses of wasi:http. `wit` is a global of componentize-qjs: streams and futures of the component model.
import types from "wasi:http/types@0.3.0";

/** A response with a text. */
export function text(body, status = 200) {
  return respond(status, { "content-type": "text/plain; charset=utf-8" }, utf8(body));
}

/** A response: `headers` is an object of strings, `body` a Uint8Array or an iterable of them. */
export function respond(status, headers, body) {
  const fields = types.Fields.fromList(Object.entries(headers).map(([name, value]) => [name, utf8(value)]));
  const trailers = wit.Future.from({ tag: "ok", val: null }, wit.Future.RESULT_OPTION_OTHER_ERROR_CODE);
  const [response] = types.Response.new(fields, body, trailers.readable);
  response.setStatusCode(status);
  return response;
}

/** The bytes of a text in UTF-8. QuickJS has no TextEncoder. */
export function utf8(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));
}
