//! Answers with a file of its volume, whose stream it hands on, or with what a request says of itself (`/request`).

use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

wasip3::http::service::export!(Files);

struct Files;

impl wasip3::exports::http::handler::Guest for Files {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (trailers, trailing) = wit_future::new(|| Ok(None));
        drop(trailers);
        let contents = if path == "/request" {
            let (mut body, contents) = wit_stream::new();
            let said = format!("{:?} {:?}", request.get_scheme(), request.get_authority());
            wit_bindgen::spawn_local(async move {
                body.write_all(said.into_bytes()).await;
            });
            contents
        } else {
            let (volume, _) = get_directories().pop().unwrap();
            let path = path.trim_start_matches('/').to_owned();
            let file = volume.open_at(PathFlags::empty(), path, OpenFlags::empty(), DescriptorFlags::READ).await;
            file.map_err(|_| ErrorCode::DestinationNotFound)?.read_via_stream(0).0
        };
        let (response, _) = Response::new(Fields::new(), Some(contents), trailing);
        Ok(response)
    }
}
