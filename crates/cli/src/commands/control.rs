//! The control socket of `wharf up`: the host API, and workloads that come back.

use std::net::SocketAddr;

use wharf::Host;
use wharf_control::{Blobs, Control, ControlServer, Exposition, MutualTls, Serving, State};
use wharf_http::HttpServer;

use crate::args::{self, EngineArgs};
use crate::error::{CliError, Report};
use crate::logging;
use crate::output::{BOLD, DIM};

/// The listeners of the host API, and what the host needs for it.
pub(super) struct Prepared {
    servers: Vec<ControlServer>,
    metrics: Option<ControlServer>,
    pub(super) blobs: Blobs,
    state: Option<State>,
}

/// A host API that is served.
pub(super) struct Served {
    servers: Vec<Serving>,
    control: Control,
}

/// Listens where the command line says. `None` without `--control`.
pub(super) async fn prepare(engine: &EngineArgs, args: &args::Control) -> Result<Option<Prepared>, CliError> {
    if args.control.is_empty() && args.metrics.is_none() {
        return Ok(None);
    }
    let mut servers = Vec::new();
    for address in &args.control {
        servers.push(listen(address, args).await?);
    }
    let metrics = match args.metrics {
        Some(address) => Some(
            ControlServer::bind_metrics(address)
                .await
                .map_err(|error| CliError::Host(Report::with_hint(error, "choose another address with --metrics")))?,
        ),
        None => None,
    };
    let failed = |error: &dyn std::error::Error| CliError::Host(Report::error(error.to_string()));
    let state = match &engine.state {
        Some(folder) if !args.control.is_empty() => {
            Some(State::open(folder.join("host")).map_err(|error| failed(&error))?)
        }
        _ => None,
    };
    let blobs = match &state {
        Some(state) => state.blobs().map_err(|error| failed(&error))?,
        None => Blobs::temporary().map_err(|error| failed(&error))?,
    };
    Ok(Some(Prepared { servers, metrics, blobs, state }))
}

async fn listen(address: &str, args: &args::Control) -> Result<ControlServer, CliError> {
    let refused = |error| CliError::Host(Report::error(error));
    let Some(address) = address.strip_prefix("tcp:") else {
        return ControlServer::bind_unix(address.strip_prefix("unix:").unwrap_or(address)).map_err(refused);
    };
    let address: SocketAddr = address.trim_start_matches("//").parse().map_err(|error| {
        let hint = "write it as `tcp:ADDRESS:PORT`, such as `tcp:127.0.0.1:7000`";
        CliError::Usage(Report::with_hint(format!("invalid `--control tcp:{address}`: {error}"), hint))
    })?;
    let (Some(chain), Some(key), Some(authority)) = (&args.control_cert, &args.control_key, &args.control_ca) else {
        let hint = "set --control-cert, --control-key and --control-ca; a Unix socket needs none";
        return Err(CliError::Usage(Report::with_hint("the host API on TCP needs mutual TLS", hint)));
    };
    let tls = MutualTls::from_pem_files(chain, key, authority);
    let tls = tls.map_err(|error| CliError::Host(Report::error(error)))?;
    ControlServer::bind_tcp(address, tls).await.map_err(refused)
}

impl Prepared {
    /// Brings the workloads of the state folder back, and serves.
    pub(super) async fn serve(self, host: &Host, server: &HttpServer) -> Served {
        let control = match self.state {
            Some(state) => Control::with_state(host.clone(), self.blobs, state),
            None => Control::new(host.clone(), self.blobs),
        };
        let server = server.clone();
        let control = control.metrics(move |out| requests(&server, out));
        let (restored, failed) = control.restore().await;
        for error in failed {
            tracing::error!("{error}");
        }
        if restored > 0 {
            logging::print(&format!("{DIM}{restored} workloads of the state folder run again{DIM:#}\n"));
        }
        let mut servers = Vec::new();
        for server in self.servers {
            logging::print(&format!("{BOLD}Host API on {}{BOLD:#}\n", server.address()));
            servers.push(server.serve(control.clone()));
        }
        if let Some(metrics) = self.metrics {
            let address = metrics.address();
            logging::print(&format!("{DIM}Metrics on http://{}/metrics{DIM:#}\n", address.trim_start_matches("tcp:")));
            servers.push(metrics.serve_metrics(control.only_metrics()));
        }
        control.set_ready(true);
        Served { servers, control }
    }
}

/// The metrics of HTTP requests, under the names of OpenTelemetry's semantic conventions.
fn requests(server: &HttpServer, out: &mut Exposition) {
    let name = "http_server_request_duration_seconds";
    out.metric(name, "histogram", "Duration of HTTP requests, to the head of the response.");
    for found in server.requests() {
        let status = found.status.to_string();
        let labels = [
            ("workload", found.workload.as_str()),
            ("component", found.component.as_str()),
            ("http_response_status_code", status.as_str()),
        ];
        out.histogram(name, &labels, &found.durations);
    }
}

impl Served {
    /// Says that the host drains.
    pub(super) fn drains(&self) {
        self.control.set_ready(false);
    }

    /// Whether a workload came through the host API.
    pub(super) fn has(&self, id: &str) -> bool {
        self.control.is_from_api(id)
    }

    /// Stops serving.
    pub(super) async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}
