//! The guestbook's pages: asks the sanitiser and the store, and has no grant of its own.

use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::{wit_future, wit_stream};

wit_bindgen::generate!({ path: "../wit", world: "front" });

use guestbook::app::sanitiser::clean;
use guestbook::app::store::{self, Entry};

wasip3::http::service::export!(Front);

struct Front;

const PAGE: &str = include_str!("page.html");
const MAX_BODY: usize = 16 * 1024;

impl wasip3::exports::http::handler::Guest for Front {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        Ok(match (request.get_method(), path.as_str()) {
            (Method::Get, "/") => page(200, None).await,
            (Method::Post, "/") => match sign(request).await {
                Ok(()) => answer(303, &[("location", "/")], String::new()),
                Err(problem) => page(400, Some(&problem)).await,
            },
            (_, "/") => answer(405, &[("allow", "GET, POST")], "GET or POST, please\n".into()),
            _ => answer(404, &[], "there is only one page here: /\n".into()),
        })
    }
}

async fn sign(request: Request) -> Result<(), String> {
    let form = body(request).await?;
    let who = clean(&field(&form, "who"), 60)?;
    let text = clean(&field(&form, "text"), 500)?;
    let at = u64::try_from(wasip3::clocks::system_clock::now().seconds).unwrap_or_default();
    store::add(Entry { who, text, at }).await
}

async fn page(status: u16, problem: Option<&str>) -> Response {
    let mut html = PAGE.to_owned();
    if let Some(problem) = problem {
        html.push_str(&format!("<p class=problem>{problem}</p>\n"));
    }
    match store::all().await {
        Ok(entries) => {
            for Entry { who, text, .. } in entries {
                html.push_str(&format!("<article><b>{who}</b><br>{text}</article>\n"));
            }
            answer(status, &[("content-type", "text/html; charset=utf-8")], html)
        }
        Err(problem) => answer(500, &[], problem + "\n"),
    }
}

fn answer(status: u16, headers: &[(&str, &str)], text: String) -> Response {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).expect("these headers are well formed");
    }
    let (mut body, contents) = wit_stream::new();
    let (trailers, trailing) = wit_future::new(|| Ok(None));
    drop(trailers);
    let (response, _) = Response::new(fields, Some(contents), trailing);
    response.set_status_code(status).expect("these codes are well formed");
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    response
}

async fn body(request: Request) -> Result<String, String> {
    let (done, result) = wit_future::new(|| Ok(()));
    drop(done);
    let (mut contents, _) = Request::consume_body(request, result);
    let mut bytes = Vec::new();
    while let Some(byte) = contents.next().await {
        bytes.push(byte);
        if bytes.len() > MAX_BODY {
            return Err("that is too long".into());
        }
    }
    String::from_utf8(bytes).map_err(|_| "that is not UTF-8".into())
}

/// A field of an `application/x-www-form-urlencoded` form.
fn field(form: &str, name: &str) -> String {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).next().unwrap_or_default()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [rest.next(), rest.next()].map(|digit| digit.and_then(|d| (d as char).to_digit(16)));
                match hex {
                    [Some(high), Some(low)] => (high * 16 + low) as u8,
                    _ => b'%',
                }
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
