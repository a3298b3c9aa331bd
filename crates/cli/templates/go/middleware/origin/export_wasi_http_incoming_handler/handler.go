// What the middleware passes requests on to.
package export_wasi_http_incoming_handler

import (
	types "app/bindings/wasi_http_types"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

// Handle answers one request.
func Handle(request *types.IncomingRequest, out *types.ResponseOutparam) {
	respond(out, 200, "Hello from behind the middleware")
}

// respond sends a text.
func respond(out *types.ResponseOutparam, status uint16, text string) {
	headers := types.MakeFields()
	headers.Append("content-type", []byte("text/plain; charset=utf-8"))
	response := types.MakeOutgoingResponse(headers)
	response.SetStatusCode(status)
	body := response.Body().Ok()
	types.ResponseOutparamSet(out, witTypes.Ok[*types.OutgoingResponse, types.ErrorCode](response))
	stream := body.Write().Ok()
	// A client that is gone is no reason to fail.
	stream.BlockingWriteAndFlush([]byte(text))
	stream.Drop()
	types.OutgoingBodyFinish(body, witTypes.None[*types.Fields]())
}
