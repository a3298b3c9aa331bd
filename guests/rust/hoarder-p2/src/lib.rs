//! Has the host keep things for it, as many as the path asks for, and says how many there are by then. WASI 0.2.

use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingRequest, OutgoingResponse, ResponseOutparam};

include!("../../../shared/target.rs");
include!("../../../shared/answer-p2.rs");

wasip2::http::proxy::export!(Hoarder);

struct Hoarder;

impl wasip2::exports::http::incoming_handler::Guest for Hoarder {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let n = number(&target, "n").unwrap_or(1);
        let kept = match path_of(&target) {
            "/fields" => keep(n, fields),
            "/clones" => {
                let first = fields();
                keep(n, || {
                    let copy = first.clone();
                    // A copy is one when it is changed.
                    copy.append("x-more", b"y").unwrap();
                    copy
                })
            }
            "/bodies" => keep(n, || {
                let response = OutgoingResponse::new(Fields::new());
                let body = response.body().unwrap();
                let stream = body.write().unwrap();
                while let Ok(room @ 1..) = stream.check_write() {
                    stream.write(&vec![1; room as usize]).unwrap();
                }
                (response, body, stream)
            }),
            "/lines" => keep(n, || {
                let stream = wasip2::cli::stdout::get_stdout();
                stream.blocking_write_and_flush(&[b'x'; 4000]).unwrap();
                stream
            }),
            "/handles" => keep(n, wasip2::cli::stdout::get_stdout),
            "/directories" => {
                let folder = wasip2::filesystem::preopens::get_directories().into_iter().next().unwrap().0;
                keep(n, || folder.read_directory().unwrap())
            }
            "/file-streams" => {
                let folder = wasip2::filesystem::preopens::get_directories().into_iter().next().unwrap().0;
                let file =
                    folder.open_at(PathFlags::empty(), "big", OpenFlags::empty(), DescriptorFlags::READ).unwrap();
                let mut kept = Vec::new();
                while let Ok(stream) = file.read_via_stream(0) {
                    stream.blocking_read(1).unwrap();
                    kept.push(stream);
                }
                kept.len() as u64
            }
            // Empty ones first, so that the host looks less often, and then as large as they may be.
            "/grown-fields" => {
                let kept: Vec<_> = (0..n).map(|_| Fields::new()).collect();
                kept.iter().map(|fields| u64::from(fields.append("x-large", &[b'x'; 60_000]).is_ok())).sum()
            }
            "/methods" => keep(n, || {
                let request = OutgoingRequest::new(Fields::new());
                request.set_method(&Method::Other("M".repeat(100_000))).unwrap();
                request
            }),
            "/emptied-fields" => {
                let values = vec![Vec::new(); 900];
                keep(n, || {
                    let fields = Fields::new();
                    fields.set("a", &values).unwrap();
                    fields.delete("a").unwrap();
                    fields
                })
            }
            "/random" => wasip2::random::random::get_random_bytes(n).len() as u64,
            "/fill" => {
                let folder = wasip2::filesystem::preopens::get_directories().into_iter().next().unwrap().0;
                for i in 0..n {
                    let name = format!("{i:0>200}");
                    folder.open_at(PathFlags::empty(), &name, OpenFlags::CREATE, DescriptorFlags::WRITE).unwrap();
                }
                n
            }
            _ => 0,
        };
        answer(out, 200, &kept.to_string());
    }
}

/// Makes so many, and drops none before there are all.
fn keep<T>(n: u64, make: impl Fn() -> T) -> u64 {
    let kept: Vec<T> = (0..n).map(|_| make()).collect();
    kept.len() as u64
}

/// As large as they may be.
fn fields() -> Fields {
    let fields = Fields::new();
    while fields.append("x-large", &[b'x'; 4000]).is_ok() && fields.get("x-large").len() < 14 {}
    fields
}
