//! `wharf call`: calls an exported function, or sends a request without a listening port.

mod table;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use wharf::api::{CallFormat, CallRequest, HostApi};
use wharf::guest_log::escape;
use wharf::host::HostCallError;
use wharf::run::call::call_text;
use wharf::stdio;
use wharf::workload::manifest::{Format, HttpPath, HttpTrigger};
use wharf_http::{HttpServer, Settings};

use super::{remote, up};
use crate::args::{Call, CallOutput, EngineArgs};
use crate::error::{self, CliError, Report};
use crate::grants::{self, Target};
use crate::{build, host, output};

/// The most that standard input may have, in bytes.
const MAX_INPUT: u64 = 64 << 20;

pub(crate) async fn call(engine: &EngineArgs, args: &Call) -> Result<ExitCode, CliError> {
    // One call needs no pool, whose address space takes milliseconds to reserve.
    let engine = EngineArgs { pool: engine.pool.or(Some(0)), source_lines: true, ..engine.clone() };
    if let Some(request) = &args.http {
        return http(&engine, args, request).await;
    }
    let text = text(args)?;
    let format = if args.output == CallOutput::Wave { CallFormat::Wave } else { CallFormat::Json };
    let results = if args.remote.host.as_deref().is_some_and(|host| !host.is_empty()) {
        let mut request = CallRequest::new("", text);
        (request.component, request.format) = (args.name.clone(), format);
        let id = remote::id(&args.target);
        remote::client(&args.remote)?.call(&id, request).await.map_err(error::remote)?.results
    } else {
        local(&engine, args, &text, format).await?
    };
    for result in results {
        match args.output {
            CallOutput::Table => table::print(&result),
            // A guest's text could control the terminal.
            _ if std::io::stdout().is_terminal() => anstream::println!("{}", escape(&result)),
            _ => anstream::println!("{result}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn local(engine: &EngineArgs, args: &Call, text: &str, format: CallFormat) -> Result<Vec<String>, CliError> {
    let path = existing(&args.target)?;
    let target = grants::target(engine, &path, args.name.as_deref(), &args.grants, &[]).await?;
    let (Target { workload, entry: name }, declared) = target;
    let id = workload.id();
    let (builder, provided) = host::builder(engine, stdio::Log)?;
    let host = host::build(builder)?;
    provided.to(&host).await?;
    let started = output::progress("starting", host.workload_start(workload)).await;
    started.map_err(|error| error::start(&declared, error))?;
    let entry = host.entry(&id, name.as_str()).map_err(|error| match error {
        HostCallError::NotAnEntry { .. } => CliError::Usage(Report::error(error)),
        error => CliError::Host(Report::error(error)),
    })?;
    match call_text(&entry, text, format).await {
        Ok(results) => Ok(results),
        Err(error) => {
            let status = host.workload_status(&id).await;
            Err(error::call(error, status.is_ok_and(|status| !status.refusals.is_empty())))
        }
    }
}

fn existing(target: &str) -> Result<PathBuf, CliError> {
    let path = PathBuf::from(target);
    if path.exists() {
        return Ok(path);
    }
    let hint = "name a component, a manifest or its folder; for a workload of a running host, set --host";
    Err(CliError::Usage(Report::with_hint(format!("no such file: `{}`", escape(target)), hint)))
}

/// The function and its arguments as one text.
fn text(args: &Call) -> Result<String, CliError> {
    let call = args.call.as_deref().unwrap_or_default();
    let arguments = match args.arguments.as_deref() {
        Some("-") => Some(input()?),
        arguments => arguments.map(str::to_owned),
    };
    let Some(arguments) = arguments else {
        return Ok(if call.contains('(') { call.to_owned() } else { format!("{call}()") });
    };
    if call.contains('(') {
        let hint = "write them in the call, or after it";
        return Err(CliError::Usage(Report::with_hint("the call has arguments already", hint)));
    }
    let arguments = arguments.trim();
    let is_array = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(arguments).is_ok();
    // A JSON array is all arguments; another value is one. WAVE's are in parentheses, or bare.
    let bare = match arguments {
        array if is_array => &array[1..array.len() - 1],
        wave if wave.starts_with('(') && wave.ends_with(')') => &wave[1..wave.len() - 1],
        one => one,
    };
    Ok(format!("{call}({bare})"))
}

fn input() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text);
    read.map_err(|error| CliError::Usage(Report::with_context(error, "cannot read standard input".to_owned())))?;
    if text.len() as u64 > MAX_INPUT {
        let message = format!("standard input has more than {}", output::bytes(MAX_INPUT));
        return Err(CliError::Usage(Report::error(message)));
    }
    Ok(text)
}

/// Sends a request to the routes of a workload, or to a component, over a connection in memory.
async fn http(engine: &EngineArgs, args: &Call, line: &str) -> Result<ExitCode, CliError> {
    let request = request(args, line)?;
    let path = existing(&args.target)?;
    let is_manifest = path.is_dir() || Format::of(&path).is_some();
    let (workload, declared) = if is_manifest && args.name.is_none() {
        let declared = up::read(&[path])?;
        build::all(&declared, host::builds_folder(engine).as_deref()).await?;
        let Some(declared) = declared.into_iter().next() else {
            return Err(CliError::Manifest(Report::error("no manifest there")));
        };
        declared
    } else {
        let target = grants::target(engine, &path, args.name.as_deref(), &args.grants, &[]).await?;
        let (Target { mut workload, entry }, declared) = target;
        let route = HttpTrigger { component: entry, host: None, path: HttpPath::default() };
        workload.triggers.push(route).map_err(|error| CliError::Usage(Report::error(error)))?;
        (workload, declared)
    };
    let server = HttpServer::without_listener(Settings::new(([127, 0, 0, 1], 80).into()));
    let (builder, provided) = host::builder(engine, stdio::Log)?;
    let host = host::build(builder.trigger(server.clone()))?;
    provided.to(&host).await?;
    let started = output::progress("starting", host.workload_start(workload)).await;
    started.map_err(|error| error::start(&declared, error))?;
    let succeeded = exchange(&server, request, args.include).await.map_err(CliError::Call)?;
    host.shutdown().await;
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn request(args: &Call, line: &str) -> Result<Request<Full<Bytes>>, CliError> {
    let usage = |message: String| {
        let hint = "write it as `METHOD PATH`, such as `GET /`";
        CliError::Usage(Report::with_hint(message, hint))
    };
    let (method, target) = line.trim().split_once(' ').unwrap_or(("GET", line.trim()));
    let method: Method =
        method.parse().map_err(|error| usage(format!("invalid method `{}`: {error}", escape(method))))?;
    let uri: Uri =
        target.trim().parse().map_err(|error| usage(format!("invalid path `{}`: {error}", escape(target))))?;
    if !uri.path().starts_with('/') {
        return Err(usage(format!("invalid path `{}`: it begins with `/`", escape(target))));
    }
    let body = match args.data.as_deref() {
        Some("-") => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(MAX_INPUT).read_to_end(&mut bytes);
            read.map_err(|error| {
                CliError::Usage(Report::with_context(error, "cannot read standard input".to_owned()))
            })?;
            Bytes::from(bytes)
        }
        data => Bytes::from(data.unwrap_or_default().to_owned()),
    };
    // HTTP/1.1 sends the path alone, and the authority as the Host header.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| usage(format!("invalid path: {error}")))?;
    let authority = uri.authority().map_or("localhost", |authority| authority.as_str());
    if let Ok(value) = HeaderValue::try_from(authority) {
        request.headers_mut().insert(HOST, value);
    }
    for header in &args.header {
        let invalid = || {
            let hint = "write it as `name: value`";
            CliError::Usage(Report::with_hint(format!("invalid header `{}`", escape(header)), hint))
        };
        let (name, value) = header.split_once(':').ok_or_else(invalid)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| invalid())?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| invalid())?;
        if name == HOST {
            request.headers_mut().insert(name, value);
        } else {
            request.headers_mut().append(name, value);
        }
    }
    Ok(request)
}

/// Prints the response, its body as it comes. Whether its status is below 400.
async fn exchange(server: &HttpServer, request: Request<Full<Bytes>>, include: bool) -> Result<bool, Report> {
    let failed = |error: hyper::Error| Report::with_context(error, "the response ended early".to_owned());
    let Some(stream) = server.connect() else { return Err(Report::error("the server has stopped")) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let mut out = std::io::stdout().lock();
    // A reader that closes the pipe ends the output, not the program.
    if include {
        writeln!(out, "{:?} {status}", response.version()).ok();
        for (name, value) in response.headers() {
            writeln!(out, "{name}: {}", escape(&String::from_utf8_lossy(value.as_bytes()))).ok();
        }
        writeln!(out).ok();
    } else if status.as_u16() >= 400 {
        tracing::warn!("the response has the status {status}");
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(failed)?.into_data() {
            out.write_all(&data).and_then(|()| out.flush()).ok();
        }
    }
    Ok(status.as_u16() < 400)
}
