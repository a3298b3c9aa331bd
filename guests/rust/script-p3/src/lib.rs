//! Answers as the request's header `x-script` says, however senseless; without one, with what it was asked. WASI 0.3.

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::{StreamResult, spawn_local};

include!("../../../shared/script.rs");

wasip3::http::service::export!(Script);

struct Script;

impl wasip3::exports::http::handler::Guest for Script {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let value = request.get_headers().get("x-script").concat();
        if value.is_empty() {
            let (path, authority) = (request.get_path_with_query(), request.get_authority());
            let asked = format!("0.3 {} {}", authority.unwrap_or_default(), path.unwrap_or_default());
            let (mut stream, contents) = wit_stream::new();
            let (_, trailers) = wit_future::new(|| Ok(None));
            spawn_local(async move {
                stream.write_all(asked.into_bytes()).await;
            });
            return Ok(Response::new(Fields::new(), Some(contents), trailers).0);
        }
        let mut request = Some(request);
        let (headers, mut status, mut later, mut body) = (Fields::new(), 200, Vec::new(), false);
        let (mut trailers, mut responded) = (None, false);
        for op in script(&String::from_utf8_lossy(&value)) {
            match op {
                // A response has its status and headers when it is made.
                Op::Status(new) if !responded => status = new,
                Op::Header(name, value) if !responded => {
                    headers.append(&name, &value).ok();
                }
                Op::Trailer(name, value) => {
                    trailers.get_or_insert_with(Fields::new).append(&name, &value).ok();
                }
                Op::Body => body = true,
                Op::Respond => responded = true,
                Op::Error if !responded => return Err(ErrorCode::InternalError(Some("a\r\nb\u{1b}[31m".into()))),
                Op::ReadBody if !responded => {
                    if let Some(request) = request.take() {
                        read(request).await;
                    }
                }
                Op::Sleep(milliseconds) if !responded => wait_for(milliseconds * 1_000_000).await,
                Op::Trap if !responded => std::arch::wasm32::unreachable(),
                op => later.push(op),
            }
        }
        let (mut stream, contents) = wit_stream::new();
        let (trailing, trailers_read) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(headers, body.then_some(contents), trailers_read);
        response.set_status_code(status).ok();
        spawn_local(async move {
            let mut trailing = Some(trailing);
            for op in later {
                match op {
                    Op::Write(count) => {
                        stream.write_all(forged(count)).await;
                    }
                    Op::DropStream | Op::DropBody => {
                        // Another takes its place, which is not read.
                        stream = wit_stream::new().0;
                    }
                    Op::Leak => std::mem::forget(std::mem::replace(&mut stream, wit_stream::new().0)),
                    Op::Finish => {
                        stream = wit_stream::new().0;
                        if let Some(trailing) = trailing.take() {
                            trailing.write(Ok(trailers.take())).await.ok();
                        }
                    }
                    Op::Error => {
                        if let Some(trailing) = trailing.take() {
                            trailing.write(Err(ErrorCode::HttpProtocolError)).await.ok();
                        }
                    }
                    Op::Sleep(milliseconds) => wait_for(milliseconds * 1_000_000).await,
                    Op::Trap => std::arch::wasm32::unreachable(),
                    _ => {}
                }
            }
        });
        Ok(response)
    }
}

/// Reads a request's body to its end.
async fn read(request: Request) {
    let (done, result) = wit_future::new(|| Ok(()));
    drop(done);
    let mut contents = Request::consume_body(request, result).0;
    while let (StreamResult::Complete(_), _) = contents.read(Vec::with_capacity(64 * 1024)).await {}
}
