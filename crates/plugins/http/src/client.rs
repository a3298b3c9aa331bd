//! Requests that components make, as the engine sends them, but for what it leaves out: one without a path is sent as `/`,
//! of WASI 0.3 a relative path below it, and the future of `request.new` does not tell of success before there was one.

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
use wharf::ctx::Getter;
use wharf::wasmtime_wasi::TrappableError;
use wharf::{Ctx, Link};

use crate::outbound::Http;

/// The bindings' data, for requests that are sent.
struct Client;

impl HasData for Client {
    type Data<'a> = WasiHttpCtxView<'a>;
}

/// How far a request got.
enum Outcome {
    /// It went out, and this tells how that ended.
    Sent(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>),
    Failed(Error),
}

impl HostWithStore<Ctx> for Client {
    async fn send(
        store: &Accessor<Ctx, Self>,
        request: Resource<Request>,
    ) -> Result<Resource<Response>, TrappableError<ErrorCode>> {
        let getter = store.getter();
        let (outcome_tx, outcome) = oneshot::channel();
        let outcome = async move {
            match outcome.await {
                Ok(Outcome::Sent(sent)) => sent.await,
                Ok(Outcome::Failed(error)) => Err(error),
                Err(_) => Err(Error::InternalError(Some("the request was not sent".to_owned()))),
            }
        };
        let (request, sent) = store.with(|mut store| {
            let mut request =
                store.get().table.delete(request).context("no such request").map_err(TrappableError::trap)?;
            request.path_with_query = Some(absolute(request.path_with_query.as_ref())?);
            let (mut request, options) = request.into_http_with_getter(&mut store, outcome, getter)?;
            // The engine adds it to every request that it sends, and sends this one below.
            request.headers_mut().remove(HOST);
            let WasiHttpCtxView { hooks, table, .. } = store.get();
            let (mut request, sent) = Request::from_http(hooks, request);
            let sent = Outcome::Sent(Box::pin(sent));
            request.options = options;
            let request = table.push(request).context("no room for a request").map_err(TrappableError::trap)?;
            Ok::<_, TrappableError<ErrorCode>>((request, sent))
        })?;
        let engines = store.with_getter::<WasiHttp>(getter);
        let (result, outcome) = match <WasiHttp as HostWithStore<Ctx>>::send(&engines, request).await {
            Ok(response) => (Ok(response), sent),
            Err(error) => {
                let code = error.downcast().map_err(TrappableError::trap)?;
                (Err(code.clone().into()), Outcome::Failed(code.into()))
            }
        };
        // A guest that dropped its future does not want to know.
        outcome_tx.send(outcome).ok();
        result
    }
}

type HandleArgs = (Resource<HostOutgoingRequest>, Option<Resource<p2::types::RequestOptions>>);

/// Links `wasi:http/outgoing-handler@0.2`, and sends a request without a path as `/`.
pub(crate) fn link_outgoing(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    p2::outgoing_handler::add_to_linker_instance::<Ctx, WasiHttp>(&mut link.instance()?, get)?;
    link.again(|instance| {
        instance.func_wrap("handle", move |mut store: StoreContextMut<'_, Ctx>, args: HandleArgs| {
            let (mut view, (request, options)) = (get(store.data_mut()), args);
            view.table.get_mut(&request)?.path_with_query.get_or_insert_with(|| "/".to_owned());
            Ok((match p2::outgoing_handler::Host::handle(&mut view, request, options) {
                Ok(response) => Ok(response),
                Err(error) => Err(p2::types::Host::convert_error_code(&mut view, error)?),
            },))
        })
    })
}

/// Stands at the head of a path that a guest set as a relative one: the type of paths has no room for those. No text is
/// written with this character (Unicode, "Noncharacters"), and no client is let in that sends it.
const RELATIVE: &str = "/\u{10ffff}";

/// Whether a path, as a client sent it, would be taken for a relative one that a guest set.
pub(crate) fn is_marked(path: &str) -> bool {
    path.starts_with(RELATIVE)
}

/// The path that a request is sent with: a relative one goes below `/`, never into the host's name.
fn absolute(path: Option<&PathAndQuery>) -> Result<PathAndQuery, ErrorCode> {
    let Some(path) = path else { return Ok(PathAndQuery::from_static("/")) };
    match path.as_str().strip_prefix(RELATIVE) {
        None => Ok(path.clone()),
        Some(relative) => format!("/{relative}").try_into().map_err(|_| ErrorCode::HttpRequestUriInvalid),
    }
}

pub(crate) fn link_client(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    client::add_to_linker_instance::<Ctx, Client>(&mut link.instance()?, get)
}

const GET_PATH: &str = "[method]request.get-path-with-query";
const SET_PATH: &str = "[method]request.set-path-with-query";

type Path = Option<String>;

/// Links the types, and lets a relative path be set, which the engine refuses.
pub(crate) fn link_types(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    types::add_to_linker_instance::<Ctx, WasiHttp>(&mut link.instance()?, get)?;
    link.again(|instance| {
        instance.func_wrap(
            GET_PATH,
            move |mut store: StoreContextMut<'_, Ctx>, (request,): (Resource<Request>,)| {
                let path = get(store.data_mut()).get_path_with_query(request)?;
                Ok((path.map(|path| path.strip_prefix(RELATIVE).map(str::to_owned).unwrap_or(path)),))
            },
        )?;
        instance.func_wrap(SET_PATH, move |mut store: StoreContextMut<'_, Ctx>, args: (Resource<Request>, Path)| {
            let (request, path) = args;
            let relative = |path: &String| !path.is_empty() && !path.starts_with(['/', '?']);
            let path = path.map(|path| if relative(&path) { format!("{RELATIVE}{path}") } else { path });
            Ok((get(store.data_mut()).set_path_with_query(request, path)?,))
        })
    })
}
