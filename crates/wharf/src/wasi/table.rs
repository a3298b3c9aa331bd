//! The table of WASI's interfaces: one row for each, which says whether the interface is a grant or shared, and why.
//!
//! A *grant* is imported once per component, under a scoped name, so that the host knows which component calls. A *shared*
//! interface is imported once per unit, so that siblings can pass its handles to each other. Its functions reach no more than
//! the handles that they take, and a component opens a handle through a grant.

use std::sync::LazyLock;

use wasmtime::StoreContextMut;
use wasmtime::component::Resource;
use wasmtime_wasi::cli::WasiCli;
use wasmtime_wasi::clocks::WasiClocks;
use wasmtime_wasi::filesystem::WasiFilesystem;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings as p2;
use wasmtime_wasi::p3::bindings as p3;
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::WasiSockets;
use workload::InterfaceName;

use super::cli::{Cli, Environment, HasEnvironment};
use super::sockets::lookup::{self, HasLookup, Lookup};
use super::sockets::p2::link_tcp;
use super::sockets::{HasSockets, Sockets};
use super::{P2, P3, files, grants, random, timezone, unit};
use crate::plugin::Link;
use crate::store::StoreData;

/// Adds the functions of an interface to a linker.
type LinkFn = fn(&mut Link<'_>) -> wasmtime::Result<()>;

/// An interface of WASI.
pub(crate) struct Row {
    interface: &'static str,
    version: &'static str,
    pub(crate) grant: bool,
    pub(crate) link: LinkFn,
}

impl Row {
    /// Returns the name with the version that the host provides.
    pub(crate) fn name(&self) -> Option<InterfaceName> {
        InterfaceName::parse(&format!("{}@{}", self.interface, self.version))
    }
}

/// Returns the row whose interface satisfies an import.
pub(crate) fn find(import: &InterfaceName) -> Option<&'static Row> {
    static NAMED: LazyLock<Vec<(InterfaceName, &Row)>> =
        LazyLock::new(|| rows().filter_map(|row| Some((row.name()?, row))).collect());
    NAMED.iter().find(|(name, _)| name.may_serve(import)).map(|(_, row)| *row)
}

/// Returns all rows, of WASI 0.2 and 0.3.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS_P2.iter().chain(ROWS_P3)
}

/// A row: the version, the interface, `grant` or `shared`, the reason for that, and the function that links the interface. The
/// reason documents the row and is not compiled.
macro_rules! row {
    ($version:expr, $interface:literal, $kind:ident, $why:literal, $link:expr) => {
        Row { interface: $interface, version: $version, grant: row!(@ $kind), link: $link }
    };
    (@ grant) => { true };
    (@ shared) => { false };
}

/// Links the generated bindings of a shared interface, which find their data in the store.
macro_rules! shared {
    ($bindings:path, $data:ty, $get:expr) => {{
        use $bindings as bindings;
        |link| bindings::add_to_linker_instance::<StoreData, $data>(&mut link.instance()?, $get)
    }};
}

/// Links the generated bindings of a grant, which find the data of the calling component.
macro_rules! grant {
    ($bindings:path, $data:ty, $view:ty) => {{
        use $bindings as bindings;
        |link| {
            let get = link.getter::<$view>();
            bindings::add_to_linker_instance::<StoreData, $data>(&mut link.instance()?, get)
        }
    }};
}

fn table(ctx: &mut StoreData) -> &mut wasmtime::component::ResourceTable {
    ctx.table()
}

/// Links `wasi:io/poll` with a `ready` outside of tokio's cooperative budget. A guest may poll `ready` in a loop, and after 128
/// polls in one task the budget would report everything as not ready. Epochs bound the guest's turn instead.
fn link_poll(link: &mut Link<'_>) -> wasmtime::Result<()> {
    io::poll::add_to_linker_instance::<StoreData, HasTable>(&mut link.instance()?, table)?;
    link.replace(|instance| {
        type Args = (Resource<DynPollable>,);
        instance.func_wrap_async(
            "[method]pollable.ready",
            |mut store: StoreContextMut<'_, StoreData>, (this,): Args| {
                Box::new(async move {
                    let table = store.data_mut().table();
                    Ok((tokio::task::unconstrained(io::poll::HostPollable::ready(table, this)).await?,))
                })
            },
        )
    })
}

struct HasTable;

impl wasmtime::component::HasData for HasTable {
    type Data<'a> = &'a mut wasmtime::component::ResourceTable;
}

use wasmtime_wasi::p2::bindings::io;

static ROWS_P2: &[Row] = &[
    row!(P2, "wasi:io/error", shared, "reads an error that the component holds", shared!(io::error, HasTable, table)),
    row!(P2, "wasi:io/poll", shared, "waits on handles that the component holds", link_poll),
    row!(
        P2,
        "wasi:io/streams",
        shared,
        "reads and writes streams that the component holds",
        shared!(io::streams, HasTable, table)
    ),
    row!(
        P2,
        "wasi:clocks/wall-clock",
        shared,
        "reads the time, which is not secret",
        shared!(p2::clocks::wall_clock, WasiClocks, unit::clocks)
    ),
    row!(
        P2,
        "wasi:clocks/monotonic-clock",
        shared,
        "reads the time, which is not secret",
        shared!(p2::clocks::monotonic_clock, WasiClocks, unit::clocks)
    ),
    row!(P2, "wasi:clocks/timezone", grant, "reveals the location of the host or its user", timezone::link_p2),
    row!(
        P2,
        "wasi:random/random",
        shared,
        "returns random bytes, which reveal nothing about the host",
        random::link_p2
    ),
    row!(
        P2,
        "wasi:random/insecure",
        shared,
        "returns random bytes, which reveal nothing about the host",
        random::link_insecure_p2
    ),
    row!(
        P2,
        "wasi:random/insecure-seed",
        shared,
        "returns random bytes, which reveal nothing about the host",
        shared!(p2::random::insecure_seed, WasiRandom, unit::random)
    ),
    row!(
        P2,
        "wasi:cli/environment",
        grant,
        "reads variables and arguments, which may hold secrets",
        grant!(p2::cli::environment, HasEnvironment, Environment)
    ),
    row!(P2, "wasi:cli/exit", grant, "ends the call on behalf of one component", grant!(p2::cli::exit, WasiCli, Cli)),
    row!(P2, "wasi:cli/stdin", grant, "opens the component's input", grant!(p2::cli::stdin, WasiCli, Cli)),
    row!(
        P2,
        "wasi:cli/stdout",
        grant,
        "opens the component's output, which the log attributes to it",
        grant!(p2::cli::stdout, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/stderr",
        grant,
        "opens the component's output, which the log attributes to it",
        grant!(p2::cli::stderr, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/terminal-input",
        shared,
        "defines the type of a handle",
        grant!(p2::cli::terminal_input, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/terminal-output",
        shared,
        "defines the type of a handle",
        grant!(p2::cli::terminal_output, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/terminal-stdin",
        grant,
        "reveals whether the component's input is a terminal",
        grant!(p2::cli::terminal_stdin, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/terminal-stdout",
        grant,
        "reveals whether the component's output is a terminal",
        grant!(p2::cli::terminal_stdout, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/terminal-stderr",
        grant,
        "reveals whether the component's output is a terminal",
        grant!(p2::cli::terminal_stderr, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:filesystem/types",
        shared,
        "opens and accesses files below descriptors that the component holds",
        files::link_p2
    ),
    row!(
        P2,
        "wasi:filesystem/preopens",
        grant,
        "opens the component's volumes",
        grant!(p2::filesystem::preopens, WasiFilesystem, grants::Volumes)
    ),
    row!(P2, "wasi:sockets/network", shared, "defines the type of a handle that grants no access by itself", |link| {
        use p2::sockets::network;
        let options = network::LinkOptions::default();
        network::add_to_linker_instance::<StoreData, WasiSockets>(&mut link.instance()?, &options, unit::sockets)
    }),
    row!(
        P2,
        "wasi:sockets/instance-network",
        grant,
        "opens the network with the component's `hosts`",
        grant!(p2::sockets::instance_network, HasSockets, Sockets)
    ),
    row!(
        P2,
        "wasi:sockets/ip-name-lookup",
        grant,
        "looks up names that the component's `hosts` allow",
        lookup::link_p2
    ),
    row!(P2, "wasi:sockets/tcp", shared, "uses sockets that the component holds", link_tcp),
    row!(
        P2,
        "wasi:sockets/tcp-create-socket",
        grant,
        "creates a socket with the component's `hosts`",
        grant!(p2::sockets::tcp_create_socket, HasSockets, Sockets)
    ),
    row!(
        P2,
        "wasi:sockets/udp",
        shared,
        "uses sockets that the component holds",
        shared!(p2::sockets::udp, HasSockets, unit::workload_sockets)
    ),
    row!(
        P2,
        "wasi:sockets/udp-create-socket",
        grant,
        "creates a socket with the component's `hosts`",
        grant!(p2::sockets::udp_create_socket, HasSockets, Sockets)
    ),
];

static ROWS_P3: &[Row] = &[
    row!(P3, "wasi:clocks/types", shared, "defines types only", shared!(p3::clocks::types, WasiClocks, unit::clocks)),
    row!(
        P3,
        "wasi:clocks/system-clock",
        shared,
        "reads the time, which is not secret",
        shared!(p3::clocks::system_clock, WasiClocks, unit::clocks)
    ),
    row!(
        P3,
        "wasi:clocks/monotonic-clock",
        shared,
        "reads the time, which is not secret",
        shared!(p3::clocks::monotonic_clock, WasiClocks, unit::clocks)
    ),
    row!(P3, "wasi:clocks/timezone", grant, "reveals the location of the host or its user", timezone::link_p3),
    row!(
        P3,
        "wasi:random/random",
        shared,
        "returns random bytes, which reveal nothing about the host",
        random::link_p3
    ),
    row!(
        P3,
        "wasi:random/insecure",
        shared,
        "returns random bytes, which reveal nothing about the host",
        random::link_insecure_p3
    ),
    row!(
        P3,
        "wasi:random/insecure-seed",
        shared,
        "returns random bytes, which reveal nothing about the host",
        shared!(p3::random::insecure_seed, WasiRandom, unit::random)
    ),
    row!(P3, "wasi:cli/types", shared, "defines types only", |_| Ok(())),
    row!(
        P3,
        "wasi:cli/environment",
        grant,
        "reads variables and arguments, which may hold secrets",
        grant!(p3::cli::environment, HasEnvironment, Environment)
    ),
    row!(P3, "wasi:cli/exit", grant, "ends the call on behalf of one component", grant!(p3::cli::exit, WasiCli, Cli)),
    row!(P3, "wasi:cli/stdin", grant, "opens the component's input", grant!(p3::cli::stdin, WasiCli, Cli)),
    row!(
        P3,
        "wasi:cli/stdout",
        grant,
        "opens the component's output, which the log attributes to it",
        grant!(p3::cli::stdout, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/stderr",
        grant,
        "opens the component's output, which the log attributes to it",
        grant!(p3::cli::stderr, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/terminal-input",
        shared,
        "defines the type of a handle",
        grant!(p3::cli::terminal_input, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/terminal-output",
        shared,
        "defines the type of a handle",
        grant!(p3::cli::terminal_output, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/terminal-stdin",
        grant,
        "reveals whether the component's input is a terminal",
        grant!(p3::cli::terminal_stdin, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/terminal-stdout",
        grant,
        "reveals whether the component's output is a terminal",
        grant!(p3::cli::terminal_stdout, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/terminal-stderr",
        grant,
        "reveals whether the component's output is a terminal",
        grant!(p3::cli::terminal_stderr, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:filesystem/types",
        shared,
        "opens and accesses files below descriptors that the component holds",
        files::link_p3
    ),
    row!(
        P3,
        "wasi:filesystem/preopens",
        grant,
        "opens the component's volumes",
        grant!(p3::filesystem::preopens, WasiFilesystem, grants::Volumes)
    ),
    row!(
        P3,
        "wasi:sockets/types",
        grant,
        "creates sockets, with a static function of their type",
        grant!(p3::sockets::types, HasSockets, Sockets)
    ),
    row!(
        P3,
        "wasi:sockets/ip-name-lookup",
        grant,
        "looks up names that the component's `hosts` allow",
        grant!(p3::sockets::ip_name_lookup, HasLookup, Lookup)
    ),
];
