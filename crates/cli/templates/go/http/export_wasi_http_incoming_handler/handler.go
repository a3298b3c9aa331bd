// The HTTP handler that the component exports.
package export_wasi_http_incoming_handler

import (
	"strings"

	types "app/bindings/wasi_http_types"
	"app/greeting"
	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

// Handle answers one request.
func Handle(request *types.IncomingRequest, out *types.ResponseOutparam) {
	path, _, _ := strings.Cut(request.PathWithQuery().SomeOr("/"), "?")
	text, found := greeting.For(path)
	if !found {
		respond(out, 404, "Not found")
		return
	}
	respond(out, 200, text)
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
