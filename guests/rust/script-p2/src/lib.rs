//! Answers as the request's header `x-script` says, however senseless; without one, with what it was asked. WASI 0.2.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::OutputStream;

include!("../../../shared/answer-p2.rs");
include!("../../../shared/script.rs");

wasip2::http::proxy::export!(Script);

struct Script;

/// What there is of an answer.
struct Answer {
    out: Option<ResponseOutparam>,
    headers: Option<Fields>,
    status: u16,
    response: Option<OutgoingResponse>,
    body: Option<OutgoingBody>,
    stream: Option<OutputStream>,
    trailers: Option<Fields>,
}

impl wasip2::exports::http::incoming_handler::Guest for Script {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let value = request.headers().get("x-script").concat();
        if value.is_empty() {
            let (path, authority) = (request.path_with_query(), request.authority());
            let asked = format!("0.2 {} {}", authority.unwrap_or_default(), path.unwrap_or_default());
            return self::answer(out, 200, &asked);
        }
        let mut answer = Answer {
            out: Some(out),
            headers: Some(Fields::new()),
            status: 200,
            response: None,
            body: None,
            stream: None,
            trailers: None,
        };
        for op in script(&String::from_utf8_lossy(&value)) {
            answer.run(op, &request);
        }
    }
}

impl Answer {
    /// The response, which takes the headers with it.
    fn response(&mut self) -> Option<&OutgoingResponse> {
        if let Some(headers) = self.headers.take() {
            let response = OutgoingResponse::new(headers);
            response.set_status_code(self.status).ok();
            self.response = Some(response);
        }
        self.response.as_ref()
    }

    fn run(&mut self, op: Op, request: &IncomingRequest) {
        match op {
            Op::Status(status) => {
                self.status = status;
                if let Some(response) = &self.response {
                    response.set_status_code(status).ok();
                }
            }
            Op::Header(name, value) => {
                self.headers.as_ref().map(|headers| headers.append(&name, &value));
            }
            Op::Trailer(name, value) => {
                self.trailers.get_or_insert_with(Fields::new).append(&name, &value).ok();
            }
            Op::Body => {
                self.body = self.response().and_then(|response| response.body().ok());
                self.stream = self.body.as_ref().and_then(|body| body.write().ok());
            }
            Op::Write(count) => {
                let Some(stream) = &self.stream else { return };
                let room = stream.check_write().unwrap_or(0) as usize;
                if room > 0 {
                    stream.write(&forged(count.min(room))).ok();
                }
            }
            Op::Flush => {
                self.stream.as_ref().map(OutputStream::blocking_flush);
            }
            Op::DropStream => self.stream = None,
            Op::DropBody => (self.stream, self.body) = (None, None),
            Op::Leak => std::mem::forget((self.stream.take(), self.body.take())),
            Op::Finish => {
                self.stream = None;
                let trailers = self.trailers.take();
                self.body.take().map(|body| OutgoingBody::finish(body, trailers));
            }
            Op::Respond => {
                self.response();
                if let (Some(out), Some(response)) = (self.out.take(), self.response.take()) {
                    ResponseOutparam::set(out, Ok(response));
                }
            }
            Op::Error => {
                if let Some(out) = self.out.take() {
                    ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("a\r\nb\u{1b}[31m".into()))));
                }
            }
            Op::ReadBody => {
                let Ok(body) = request.consume() else { return };
                let Ok(stream) = body.stream() else { return };
                while stream.blocking_read(64 * 1024).is_ok() {}
            }
            Op::Sleep(milliseconds) => subscribe_duration(milliseconds * 1_000_000).block(),
            Op::Trap => std::arch::wasm32::unreachable(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // In this order: a stream is a child of its body.
        (self.stream, self.body) = (None, None);
    }
}
