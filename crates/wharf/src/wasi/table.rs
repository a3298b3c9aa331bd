//! Which interfaces grant something and which only carry shared types: one row each, with the reason.
//!
//! A *grant* is imported once per component, under a name of its own, so that the host knows who asks. A *shared*
//! interface is imported once for the whole unit, so that handles can pass between siblings: what its functions can reach
//! is decided by the handle that they are given, which somebody opened through a grant.

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
use super::lookup::{self, HasLookup, Lookup};
use super::sockets::{HasSockets, Sockets};
use super::{P2, P3, files, grants, random, timezone};
use crate::ctx::Ctx;
use crate::plugin::Link;

type LinkFn = fn(&mut Link<'_>) -> wasmtime::Result<()>;

pub(crate) struct Row {
    interface: &'static str,
    version: &'static str,
    pub(crate) grant: bool,
    pub(crate) link: LinkFn,
}

impl Row {
    pub(crate) fn name(&self) -> Option<InterfaceName> {
        InterfaceName::parse(&format!("{}@{}", self.interface, self.version))
    }
}

/// The row that an import is linked by.
pub(crate) fn find(import: &InterfaceName) -> Option<&'static Row> {
    static NAMED: LazyLock<Vec<(InterfaceName, &Row)>> =
        LazyLock::new(|| rows().filter_map(|row| Some((row.name()?, row))).collect());
    NAMED.iter().find(|(name, _)| name.may_serve(import)).map(|(_, row)| *row)
}

pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS_P2.iter().chain(ROWS_P3)
}

/// A row: the interface, whether it grants, why, and how it is linked. The reason is for whoever reads the table.
macro_rules! row {
    ($version:expr, $interface:literal, $kind:ident, $why:literal, $link:expr) => {
        Row { interface: $interface, version: $version, grant: row!(@ $kind), link: $link }
    };
    (@ grant) => { true };
    (@ shared) => { false };
}

/// The bindings of a shared interface, with their data from the store.
macro_rules! shared {
    ($bindings:path, $data:ty, $get:expr) => {{
        use $bindings as bindings;
        |link| bindings::add_to_linker_instance::<Ctx, $data>(&mut link.instance()?, $get)
    }};
}

/// The bindings of a grant, with the data of the component that calls.
macro_rules! grant {
    ($bindings:path, $data:ty, $view:ty) => {{
        use $bindings as bindings;
        |link| {
            let get = link.getter::<$view>();
            bindings::add_to_linker_instance::<Ctx, $data>(&mut link.instance()?, get)
        }
    }};
}

fn table(ctx: &mut Ctx) -> &mut wasmtime::component::ResourceTable {
    ctx.table()
}

/// `ready` asks again and again without waiting, which a task may do 128 times before its runtime has it believe that
/// nothing is ready; a guest's turn has an end anyway.
fn link_poll(link: &mut Link<'_>) -> wasmtime::Result<()> {
    io::poll::add_to_linker_instance::<Ctx, HasTable>(&mut link.instance()?, table)?;
    link.again(|instance| {
        type Args = (Resource<DynPollable>,);
        instance.func_wrap_async("[method]pollable.ready", |mut store: StoreContextMut<'_, Ctx>, (this,): Args| {
            Box::new(async move {
                let table = store.data_mut().table();
                Ok((tokio::task::unconstrained(io::poll::HostPollable::ready(table, this)).await?,))
            })
        })
    })
}

struct HasTable;

impl wasmtime::component::HasData for HasTable {
    type Data<'a> = &'a mut wasmtime::component::ResourceTable;
}

use wasmtime_wasi::p2::bindings::io;

static ROWS_P2: &[Row] = &[
    row!(
        P2,
        "wasi:io/error",
        shared,
        "describes an error that somebody was given",
        shared!(io::error, HasTable, table)
    ),
    row!(P2, "wasi:io/poll", shared, "waits on handles that somebody opened", link_poll),
    row!(
        P2,
        "wasi:io/streams",
        shared,
        "reads and writes streams that somebody opened",
        shared!(io::streams, HasTable, table)
    ),
    row!(
        P2,
        "wasi:clocks/wall-clock",
        shared,
        "the time is no secret",
        shared!(p2::clocks::wall_clock, WasiClocks, Ctx::clocks)
    ),
    row!(
        P2,
        "wasi:clocks/monotonic-clock",
        shared,
        "the time is no secret",
        shared!(p2::clocks::monotonic_clock, WasiClocks, Ctx::clocks)
    ),
    row!(P2, "wasi:clocks/timezone", grant, "where somebody is tells who they are", timezone::link_p2),
    row!(P2, "wasi:random/random", shared, "random bytes say nothing of the host", random::link_p2),
    row!(P2, "wasi:random/insecure", shared, "random bytes say nothing of the host", random::link_insecure_p2),
    row!(
        P2,
        "wasi:random/insecure-seed",
        shared,
        "random bytes say nothing of the host",
        shared!(p2::random::insecure_seed, WasiRandom, Ctx::random)
    ),
    row!(
        P2,
        "wasi:cli/environment",
        grant,
        "variables and arguments may hold secrets",
        grant!(p2::cli::environment, HasEnvironment, Environment)
    ),
    row!(P2, "wasi:cli/exit", grant, "ends the call in the name of one component", grant!(p2::cli::exit, WasiCli, Cli)),
    row!(
        P2,
        "wasi:cli/stdin",
        grant,
        "opens the input that a component was given",
        grant!(p2::cli::stdin, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/stdout",
        grant,
        "output goes out under the component's name",
        grant!(p2::cli::stdout, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/stderr",
        grant,
        "output goes out under the component's name",
        grant!(p2::cli::stderr, WasiCli, Cli)
    ),
    row!(P2, "wasi:cli/terminal-input", shared, "a handle's type", grant!(p2::cli::terminal_input, WasiCli, Cli)),
    row!(P2, "wasi:cli/terminal-output", shared, "a handle's type", grant!(p2::cli::terminal_output, WasiCli, Cli)),
    row!(
        P2,
        "wasi:cli/terminal-stdin",
        grant,
        "tells of the input that a component was given",
        grant!(p2::cli::terminal_stdin, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/terminal-stdout",
        grant,
        "tells of the output that a component was given",
        grant!(p2::cli::terminal_stdout, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:cli/terminal-stderr",
        grant,
        "tells of the output that a component was given",
        grant!(p2::cli::terminal_stderr, WasiCli, Cli)
    ),
    row!(
        P2,
        "wasi:filesystem/types",
        shared,
        "works on descriptors below a volume that somebody opened",
        files::link_p2
    ),
    row!(
        P2,
        "wasi:filesystem/preopens",
        grant,
        "opens the volumes",
        grant!(p2::filesystem::preopens, WasiFilesystem, grants::Volumes)
    ),
    row!(
        P2,
        "wasi:sockets/network",
        shared,
        "a handle's type; who may reach what was settled when it was opened",
        |link| {
            use p2::sockets::network;
            let options = network::LinkOptions::default();
            network::add_to_linker_instance::<Ctx, WasiSockets>(&mut link.instance()?, &options, Ctx::sockets)
        }
    ),
    row!(
        P2,
        "wasi:sockets/instance-network",
        grant,
        "opens the network, with the component's `hosts`",
        grant!(p2::sockets::instance_network, HasSockets, Sockets)
    ),
    row!(P2, "wasi:sockets/ip-name-lookup", grant, "looks names up, those of the component's `hosts`", lookup::link_p2),
    row!(
        P2,
        "wasi:sockets/tcp",
        shared,
        "works on sockets that somebody opened",
        shared!(p2::sockets::tcp, HasSockets, Ctx::workload_sockets)
    ),
    row!(
        P2,
        "wasi:sockets/tcp-create-socket",
        grant,
        "opens a socket",
        grant!(p2::sockets::tcp_create_socket, HasSockets, Sockets)
    ),
    row!(
        P2,
        "wasi:sockets/udp",
        shared,
        "works on sockets that somebody opened",
        shared!(p2::sockets::udp, HasSockets, Ctx::workload_sockets)
    ),
    row!(
        P2,
        "wasi:sockets/udp-create-socket",
        grant,
        "opens a socket",
        grant!(p2::sockets::udp_create_socket, HasSockets, Sockets)
    ),
];

static ROWS_P3: &[Row] = &[
    row!(P3, "wasi:clocks/types", shared, "types alone", shared!(p3::clocks::types, WasiClocks, Ctx::clocks)),
    row!(
        P3,
        "wasi:clocks/system-clock",
        shared,
        "the time is no secret",
        shared!(p3::clocks::system_clock, WasiClocks, Ctx::clocks)
    ),
    row!(
        P3,
        "wasi:clocks/monotonic-clock",
        shared,
        "the time is no secret",
        shared!(p3::clocks::monotonic_clock, WasiClocks, Ctx::clocks)
    ),
    row!(P3, "wasi:clocks/timezone", grant, "where somebody is tells who they are", timezone::link_p3),
    row!(P3, "wasi:random/random", shared, "random bytes say nothing of the host", random::link_p3),
    row!(P3, "wasi:random/insecure", shared, "random bytes say nothing of the host", random::link_insecure_p3),
    row!(
        P3,
        "wasi:random/insecure-seed",
        shared,
        "random bytes say nothing of the host",
        shared!(p3::random::insecure_seed, WasiRandom, Ctx::random)
    ),
    row!(P3, "wasi:cli/types", shared, "types alone", |_| Ok(())),
    row!(
        P3,
        "wasi:cli/environment",
        grant,
        "variables and arguments may hold secrets",
        grant!(p3::cli::environment, HasEnvironment, Environment)
    ),
    row!(P3, "wasi:cli/exit", grant, "ends the call in the name of one component", grant!(p3::cli::exit, WasiCli, Cli)),
    row!(
        P3,
        "wasi:cli/stdin",
        grant,
        "opens the input that a component was given",
        grant!(p3::cli::stdin, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/stdout",
        grant,
        "output goes out under the component's name",
        grant!(p3::cli::stdout, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/stderr",
        grant,
        "output goes out under the component's name",
        grant!(p3::cli::stderr, WasiCli, Cli)
    ),
    row!(P3, "wasi:cli/terminal-input", shared, "a handle's type", grant!(p3::cli::terminal_input, WasiCli, Cli)),
    row!(P3, "wasi:cli/terminal-output", shared, "a handle's type", grant!(p3::cli::terminal_output, WasiCli, Cli)),
    row!(
        P3,
        "wasi:cli/terminal-stdin",
        grant,
        "tells of the input that a component was given",
        grant!(p3::cli::terminal_stdin, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/terminal-stdout",
        grant,
        "tells of the output that a component was given",
        grant!(p3::cli::terminal_stdout, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:cli/terminal-stderr",
        grant,
        "tells of the output that a component was given",
        grant!(p3::cli::terminal_stderr, WasiCli, Cli)
    ),
    row!(
        P3,
        "wasi:filesystem/types",
        shared,
        "works on descriptors below a volume that somebody opened",
        files::link_p3
    ),
    row!(
        P3,
        "wasi:filesystem/preopens",
        grant,
        "opens the volumes",
        grant!(p3::filesystem::preopens, WasiFilesystem, grants::Volumes)
    ),
    row!(
        P3,
        "wasi:sockets/types",
        grant,
        "a socket is made by a static function of its type",
        grant!(p3::sockets::types, HasSockets, Sockets)
    ),
    row!(
        P3,
        "wasi:sockets/ip-name-lookup",
        grant,
        "looks names up, those of the component's `hosts`",
        grant!(p3::sockets::ip_name_lookup, HasLookup, Lookup)
    ),
];
