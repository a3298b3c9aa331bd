// What the middleware passes requests on to.

#include "app.h"

#include <string.h>

/// Sends a text.
static void respond(wasi_http_types_own_response_outparam_t out, uint16_t status, const char *text) {
    wasi_http_types_own_fields_t headers = wasi_http_types_constructor_fields();
    app_string_t name;
    app_string_set(&name, "content-type");
    const char *plain = "text/plain; charset=utf-8";
    wasi_http_types_field_value_t value = {(uint8_t *)plain, strlen(plain)};
    wasi_http_types_header_error_t invalid;
    wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(headers), &name, &value, &invalid);

    wasi_http_types_own_outgoing_response_t response = wasi_http_types_constructor_outgoing_response(headers);
    wasi_http_types_borrow_outgoing_response_t borrowed = wasi_http_types_borrow_outgoing_response(response);
    wasi_http_types_method_outgoing_response_set_status_code(borrowed, status);
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_method_outgoing_response_body(borrowed, &body);
    wasi_http_types_result_own_outgoing_response_error_code_t result = {.is_err = false, .val.ok = response};
    wasi_http_types_static_response_outparam_set(out, &result);

    wasi_http_types_own_output_stream_t stream;
    wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream);
    app_list_u8_t contents = {(uint8_t *)text, strlen(text)};
    wasi_io_streams_stream_error_t broken;
    // A client that is gone is no reason to fail.
    wasi_io_streams_method_output_stream_blocking_write_and_flush(wasi_io_streams_borrow_output_stream(stream), &contents, &broken);
    wasi_io_streams_output_stream_drop_own(stream);
    wasi_http_types_error_code_t error;
    wasi_http_types_static_outgoing_body_finish(body, NULL, &error);
}

void exports_wasi_http_incoming_handler_handle(exports_wasi_http_incoming_handler_own_incoming_request_t request,
                                               exports_wasi_http_incoming_handler_own_response_outparam_t out) {
    wasi_http_types_incoming_request_drop_own(request);
    respond(out, 200, "Hello from behind the middleware");
}
