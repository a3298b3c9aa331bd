//! The bindings through which components send requests. They correct three behaviours of wasmtime-wasi-http: a request
//! without a path is sent as `/`, a relative path (WASI 0.3) is resolved below `/`, and the future of `request.new`
//! does not resolve before the request was sent.

use std::pin::Pin;

use http::header::HOST;
use http::uri::PathAndQuery;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, HasData, Resource};
use wasmtime::error::Context as _;
use wasmtime_wasi_http::p2::bindings::http as p2;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::p3::bindings::http::client::{self, HostWithStore};
use wasmtime_wasi_http::p3::bindings::http::types::{self, ErrorCode, HostRequest as _};
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{Error, WasiHttp, WasiHttpCtxView};
use wharf::store::Getter;
use wharf::wasmtime_wasi::TrappableError;
use wharf::{Link, StoreData};

use crate::outbound::Http;

/// The data of the bindings of `wasi:http/client`.
struct Client;

impl HasData for Client {
    type Data<'a> = WasiHttpCtxView<'a>;
}

/// The outcome of sending a request.
enum Outcome {
    /// The request was sent. The future resolves when its body was sent or failed.
    Sent(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>),
    Failed(Error),
}

impl HostWithStore<StoreData> for Client {
    async fn send(
        store: &Accessor<StoreData, Self>,
        request: Resource<Request>,
    ) -> Result<Resource<Response>, TrappableError<ErrorCode>> {
        let getter = store.getter();
        let (outcome_tx, outcome) = oneshot::channel();
        let outcome = async move {
            match outcome.await {
                Ok(Outcome::Sent(sent)) => sent.await,
                Ok(Outcome::Failed(error)) => Err(error),
                Err(_) => {
                    Err(Error::InternalError(Some("the call was cancelled before the request was sent".to_owned())))
                }
            }
        };
        let (request, sent) = store.with(|mut store| {
            let mut request =
                store.get().table.delete(request).context("unknown request").map_err(TrappableError::trap)?;
            request.path_with_query = Some(absolute_path(request.path_with_query.as_ref())?);
            let (mut request, options) = request.into_http_with_getter(&mut store, outcome, getter)?;
            // wasmtime-wasi-http adds the header when it sends the request, below.
            request.headers_mut().remove(HOST);
            let WasiHttpCtxView { hooks, table, .. } = store.get();
            let (mut request, sent) = Request::from_http(hooks, request);
            let sent = Outcome::Sent(Box::pin(sent));
            request.options = options;
            let request = table.push(request).context("cannot store the request").map_err(TrappableError::trap)?;
            Ok::<_, TrappableError<ErrorCode>>((request, sent))
        })?;
        let engine = store.with_getter::<WasiHttp>(getter);
        let (result, outcome) = match <WasiHttp as HostWithStore<StoreData>>::send(&engine, request).await {
            Ok(response) => (Ok(response), sent),
            Err(error) => {
                let code = error.downcast().map_err(TrappableError::trap)?;
                (Err(code.clone().into()), Outcome::Failed(code.into()))
            }
        };
        // The receiver is gone if the guest has dropped its future.
        outcome_tx.send(outcome).ok();
        result
    }
}

type HandleArgs = (Resource<HostOutgoingRequest>, Option<Resource<p2::types::RequestOptions>>);

/// Links `wasi:http/outgoing-handler@0.2`, and sends a request without a path as `/`.
pub(crate) fn link_outgoing(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    p2::outgoing_handler::add_to_linker_instance::<StoreData, WasiHttp>(&mut link.instance()?, get)?;
    link.replace(|instance| {
        instance.func_wrap("handle", move |mut store: StoreContextMut<'_, StoreData>, args: HandleArgs| {
            let (mut view, (request, options)) = (get(store.data_mut()), args);
            view.table.get_mut(&request)?.path_with_query.get_or_insert_with(|| "/".to_owned());
            Ok((match p2::outgoing_handler::Host::handle(&mut view, request, options) {
                Ok(response) => Ok(response),
                Err(error) => Err(p2::types::Host::convert_error_code(&mut view, error)?),
            },))
        })
    })
}

/// Prefix that marks a relative path, because `PathAndQuery` cannot hold one. The character is a Unicode noncharacter,
/// which text never contains, and the server rejects requests whose path begins with the marker.
const RELATIVE_MARKER: &str = "/\u{10ffff}";

/// Whether a path from a client begins with the marker, so that it would be taken for a relative path.
pub(crate) fn has_relative_marker(path: &str) -> bool {
    path.starts_with(RELATIVE_MARKER)
}

/// The path that a request is sent with. A relative path is resolved below `/`, so that it cannot extend the host name.
fn absolute_path(path: Option<&PathAndQuery>) -> Result<PathAndQuery, ErrorCode> {
    let Some(path) = path else { return Ok(PathAndQuery::from_static("/")) };
    match path.as_str().strip_prefix(RELATIVE_MARKER) {
        None => Ok(path.clone()),
        Some(relative) => format!("/{relative}").try_into().map_err(|_| ErrorCode::HttpRequestUriInvalid),
    }
}

/// Links `wasi:http/client@0.3`.
pub(crate) fn link_client(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    client::add_to_linker_instance::<StoreData, Client>(&mut link.instance()?, get)
}

const GET_PATH: &str = "[method]request.get-path-with-query";
const SET_PATH: &str = "[method]request.set-path-with-query";

type Path = Option<String>;

/// Links `wasi:http/types@0.3`, and accepts relative paths, which wasmtime-wasi-http rejects.
pub(crate) fn link_types(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    types::add_to_linker_instance::<StoreData, WasiHttp>(&mut link.instance()?, get)?;
    link.replace(|instance| {
        instance.func_wrap(
            GET_PATH,
            move |mut store: StoreContextMut<'_, StoreData>, (request,): (Resource<Request>,)| {
                let path = get(store.data_mut()).get_path_with_query(request)?;
                Ok((path.map(|path| path.strip_prefix(RELATIVE_MARKER).map(str::to_owned).unwrap_or(path)),))
            },
        )?;
        instance.func_wrap(
            SET_PATH,
            move |mut store: StoreContextMut<'_, StoreData>, args: (Resource<Request>, Path)| {
                let (request, path) = args;
                let relative = |path: &String| !path.is_empty() && !path.starts_with(['/', '?']);
                let path = path.map(|path| if relative(&path) { format!("{RELATIVE_MARKER}{path}") } else { path });
                Ok((get(store.data_mut()).set_path_with_query(request, path)?,))
            },
        )
    })
}
