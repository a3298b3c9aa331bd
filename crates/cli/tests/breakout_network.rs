//! Guests that attempt network access without a grant, and hosts that attempt to reach their listeners.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use support::breakout::{GENERATIONS, assert_lines, attempts, breakout};
use support::names::Names;
use support::{PATIENCE, wharf};

/// Listening sockets of the machine that a guest must not reach without a grant. All but one are on the same port.
struct Machine {
    tcp: Vec<(String, TcpListener)>,
    udp: Vec<(String, UdpSocket)>,
    port: u16,
    other: u16,
}

impl Machine {
    /// Listens on some addresses, on a port that is free on all of them.
    fn new(addresses: &[&str]) -> Self {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        other.set_nonblocking(true).unwrap();
        loop {
            let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let tcp: Result<Vec<_>, _> = addresses.iter().map(|ip| TcpListener::bind(format!("{ip}:{port}"))).collect();
            let udp: Result<Vec<_>, _> = addresses.iter().map(|ip| UdpSocket::bind(format!("{ip}:{port}"))).collect();
            let (tcp, udp) = match (tcp, udp) {
                (Ok(tcp), Ok(udp)) => (tcp, udp),
                (Err(error), _) | (_, Err(error)) if error.kind() == ErrorKind::AddrInUse => continue,
                (Err(error), _) | (_, Err(error)) => panic!("{addresses:?}: {error}"),
            };
            tcp.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
            udp.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
            let name = |protocol: &str, ip: &&str| format!("{protocol} {ip}");
            let mut tcp: Vec<_> = addresses.iter().map(|ip| name("tcp", ip)).zip(tcp).collect();
            let udp = addresses.iter().map(|ip| name("udp", ip)).zip(udp).collect();
            let other_port = other.local_addr().unwrap().port();
            tcp.push(("tcp on the other port".to_owned(), other));
            return Self { tcp, udp, port, other: other_port };
        }
    }

    /// Replaces the placeholders P and Q in a text with the real ports.
    fn ports(&self, text: &str) -> String {
        text.replace(":P", &format!(":{}", self.port)).replace(":Q", &format!(":{}", self.other))
    }

    /// How often each socket was reached. On the loopback all data has arrived by the time its sender has ended.
    fn called(&self) -> BTreeMap<&str, usize> {
        let mut called = BTreeMap::new();
        for (name, socket) in &self.tcp {
            while let Some(_connection) = unless_would_block(socket.accept()) {
                *called.entry(&**name).or_default() += 1;
            }
        }
        for (name, socket) in &self.udp {
            let mut buffer = [0; 100];
            while let Some(length) = unless_would_block(socket.recv(&mut buffer)) {
                assert_eq!(&buffer[..length], b"broken", "the sender is not a guest");
                *called.entry(&**name).or_default() += 1;
            }
        }
        called
    }
}

fn unless_would_block<T>(result: std::io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

const EVERYWHERE: [&str; 3] = ["127.0.0.1", "127.0.0.2", "[::1]"];
const HOSTS: &str = "127.0.0.1 localhost\n::1 ip6-localhost\n";

const REFUSED: &str = "refused: connection-refused (connect)";
const INVALID: &str = "refused: invalid-argument (connect)";
const DENIED: &str = "refused: permanent-resolver-failure";
const NOT_LOOKED_UP: &str = "refused: permanent-resolver-failure (look-up)";
const NO_SUCH_NAME: &str = "refused: name-unresolvable";
const SENT: &str = "DID IT: sent 1 datagrams";
const NOT_CONNECTED_TO: &str = "refused: invalid-argument (send)";
const LISTENS: &str = "DID IT: listens";
const BOUND: &str = "DID IT: bound";

/// Attempts, and their outcomes without a grant, with a grant of `127.0.0.1:P`, and with a grant of `localhost:P`. An outcome
/// that differs between WASI 0.2 and 0.3 has both, separated by a bar. P is the port of all sockets of the machine but one,
/// which is on Q.
const NETWORK: &[(&[&str], [&str; 3])] = &[
    (&["tcp-connect=127.0.0.1:P"], [REFUSED, "DID IT: connected to 127.0.0.1:P", REFUSED]),
    (&["tcp-connect=127.0.0.2:P", "tcp-connect=[::1]:P", "tcp-connect=127.0.0.1:Q"], [REFUSED, REFUSED, REFUSED]),
    (&["tcp-connect=[::ffff:127.0.0.1]:P", "tcp-connect=[::127.0.0.1]:P"], [INVALID, INVALID, INVALID]),
    (&["tcp-connect=0.0.0.0:P", "tcp-connect=[::]:P", "tcp-connect=127.0.0.1:0"], [INVALID, INVALID, INVALID]),
    (&["tcp-connect=255.255.255.255:P", "tcp-connect=224.0.0.1:P"], [INVALID, INVALID, INVALID]),
    // An address reserved for documentation (RFC 5737), and the one where clouds serve credentials.
    (
        &["tcp-connect=192.0.2.1:P", "tcp-connect=169.254.169.254:80", "tcp-connect=[fe80::1]:P"],
        ["refused: access-denied (connect)", "refused: access-denied (connect)", "refused: access-denied (connect)"],
    ),
    // Spellings of the granted name.
    (&["lookup=localhost", "lookup=LOCALHOST"], [DENIED, DENIED, "DID IT: [127.0.0.1]"]),
    (&["lookup=localhost.", "lookup=LocalHost."], [DENIED, DENIED, NO_SUCH_NAME]),
    (&["lookup=localhost.."], [DENIED, DENIED, DENIED]),
    // A full-width letter: the conversion to ASCII results in the granted name.
    (&["lookup=\u{ff4c}ocalhost"], [DENIED, DENIED, "DID IT: [127.0.0.1]"]),
    // A Cyrillic letter: a different name.
    (&["lookup=loc\u{430}lhost"], [DENIED, DENIED, DENIED]),
    // Names without a grant.
    (&["lookup=sub.localhost", "lookup=example.invalid", "lookup=ip6-localhost"], [DENIED, DENIED, DENIED]),
    (&["lookup=local host", "lookup=localhost:80", "lookup=user@localhost", "lookup="], [DENIED, DENIED, DENIED]),
    (&["lookup=localhost%00", "lookup=localhost\n", "lookup=localhost/"], [DENIED, DENIED, DENIED]),
    // Numbers that only a resolver reads as addresses.
    (
        &["lookup=2130706433", "lookup=0177.0.0.1", "lookup=0x7f000001", "lookup=127.1", "lookup=0"],
        [DENIED, DENIED, DENIED],
    ),
    (&["lookup=[::1]"], [DENIED, DENIED, DENIED]),
    // The look-up of an address returns the address, reveals nothing and grants nothing.
    (&["lookup=127.0.0.1"], [DENIED, "DID IT: [127.0.0.1]", "DID IT: [127.0.0.1]"]),
    (&["lookup=127.0.0.2"], [DENIED, "DID IT: [127.0.0.2]", "DID IT: [127.0.0.2]"]),
    (&["lookup=::1"], [DENIED, "DID IT: [::1]", "DID IT: [::1]"]),
    (&["lookup=::ffff:127.0.0.1"], [DENIED, "DID IT: [::ffff:127.0.0.1]", "DID IT: [::ffff:127.0.0.1]"]),
    // Names and the addresses that they resolve to.
    (
        &["lookup-connect=localhost:P", "lookup-connect=LOCALHOST:P"],
        [NOT_LOOKED_UP, NOT_LOOKED_UP, "DID IT: connected to 127.0.0.1:P"],
    ),
    (&["lookup-connect=localhost:Q"], [NOT_LOOKED_UP, NOT_LOOKED_UP, REFUSED]),
    (&["lookup-connect=localhost.:P"], [NOT_LOOKED_UP, NOT_LOOKED_UP, "refused: name-unresolvable (look-up)"]),
    (&["lookup-connect=2130706433:P", "lookup-connect=0177.0.0.1:P"], [NOT_LOOKED_UP, NOT_LOOKED_UP, NOT_LOOKED_UP]),
    (&["lookup-connect=0x7f000001:P", "lookup-connect=127.1:P"], [NOT_LOOKED_UP, NOT_LOOKED_UP, NOT_LOOKED_UP]),
    (
        &["lookup-connect=127.0.0.1:P"],
        [NOT_LOOKED_UP, "DID IT: connected to 127.0.0.1:P", "DID IT: connected to 127.0.0.1:P"],
    ),
    (&["lookup-connect=127.0.0.2:P", "lookup-connect=::1:P"], [NOT_LOOKED_UP, REFUSED, REFUSED]),
    // Datagrams to an unused port of the workload's loopback are dropped silently.
    (&["udp-send=127.0.0.1:P", "udp-connect=127.0.0.1:P"], [SENT, SENT, SENT]),
    (
        &["udp-send=127.0.0.2:P", "udp-connect=127.0.0.2:P", "udp-send=[::1]:P", "udp-connect=[::1]:P"],
        [SENT, SENT, SENT],
    ),
    (&["udp-send=127.0.0.1:Q", "udp-connect=127.0.0.1:Q"], [SENT, SENT, SENT]),
    (
        &["udp-send=[::ffff:127.0.0.1]:P", "udp-send=0.0.0.0:P"],
        ["refused: invalid-argument (send)", "refused: invalid-argument (send)", "refused: invalid-argument (send)"],
    ),
    (&["udp-connect=[::ffff:127.0.0.1]:P", "udp-connect=0.0.0.0:P"], [INVALID, INVALID, INVALID]),
    (
        &["udp-send=255.255.255.255:P", "udp-send=192.0.2.1:P"],
        ["refused: access-denied (send)", "refused: access-denied (send)", "refused: access-denied (send)"],
    ),
    (
        &["udp-connect=255.255.255.255:P", "udp-connect=192.0.2.1:P"],
        ["refused: access-denied (connect)", "refused: access-denied (connect)", "refused: access-denied (connect)"],
    ),
    (&["udp-connect-send=127.0.0.1:P,127.0.0.1:P"], [SENT, SENT, SENT]),
    // A connected socket sends to its peer only.
    (&["udp-connect-send=127.0.0.1:P,127.0.0.2:P"], [NOT_CONNECTED_TO, NOT_CONNECTED_TO, NOT_CONNECTED_TO]),
    (&["udp-connect-send=127.0.0.1:P,192.0.2.1:P"], [NOT_CONNECTED_TO, NOT_CONNECTED_TO, NOT_CONNECTED_TO]),
    // Listening on the workload's own loopback.
    (&["tcp-listen=127.0.0.1:0", "tcp-listen=0.0.0.0:0", "tcp-listen=[::1]:0", "tcp-listen=[::]:0"], [LISTENS; 3]),
    (&["tcp-listen=127.0.0.1:80", "tcp-listen=127.0.0.1:P", "tcp-listen=0.0.0.0:P"], [LISTENS; 3]),
    (&["tcp-listen-unbound=ipv4", "tcp-listen-unbound=ipv6"], ["refused: invalid-state (listen) | DID IT: listens"; 3]),
    (&["udp-bind=127.0.0.1:0", "udp-bind=0.0.0.0:0", "udp-bind=[::1]:0", "udp-bind=[::]:0"], [BOUND; 3]),
    (&["udp-bind=127.0.0.1:53", "udp-bind=127.0.0.1:P", "udp-bind=0.0.0.0:P"], [BOUND; 3]),
    // Listening elsewhere. A socket with a grant to connect may bind to a free port first; this machine lacks the address.
    (&["tcp-listen=[::ffff:127.0.0.1]:0", "udp-bind=[::ffff:127.0.0.1]:0"], ["refused: invalid-argument (bind)"; 3]),
    (&["tcp-listen=192.0.2.1:80", "udp-bind=192.0.2.1:80"], ["refused: access-denied (bind)"; 3]),
    (
        &["tcp-listen=192.0.2.1:0", "udp-bind=192.0.2.1:0"],
        [
            "refused: access-denied (bind)",
            "refused: address-not-bindable (bind)",
            "refused: address-not-bindable (bind)",
        ],
    ),
];

/// The outcome of a WASI version: the part before the bar for 0.2, after it for 0.3, or everything if there is no bar.
fn of_generation(outcomes: &str, generation: usize) -> &str {
    outcomes.split(" | ").cycle().nth(generation).unwrap()
}

/// Runs all attempts of both guests with these grants, and compares the outcomes with this column of the table.
fn network(column: usize, grants: &[&str], reachable: &[(&str, usize)]) {
    let names = Names::new(HOSTS);
    for (generation, guest) in GENERATIONS.iter().enumerate() {
        let machine = Machine::new(&EVERYWHERE);
        let grants: Vec<_> = grants.iter().map(|grant| machine.ports(grant)).collect();
        let grants: Vec<_> = grants.iter().map(String::as_str).collect();
        let mut tried = Vec::new();
        let mut expected = Vec::new();
        for (attempts, outcomes) in NETWORK {
            let outcome = of_generation(outcomes[column], generation);
            tried.extend(attempts.iter().map(|attempt| machine.ports(attempt)));
            // An attempt that contains a line break prints two lines; the second has the outcome.
            let lines = attempts.iter().flat_map(|attempt| {
                let line = machine.ports(&format!("{attempt}\t{outcome}"));
                line.lines().map(str::to_owned).collect::<Vec<_>>()
            });
            expected.extend(lines);
        }
        let tried: Vec<_> = tried.iter().map(String::as_str).collect();
        let found = attempts(names.wharf(), guest, &grants, &tried);
        assert_eq!(machine.called(), reachable.iter().copied().collect(), "{guest} {grants:?} called");
        assert_lines(&found, &expected, &format!("{guest} {grants:?}"));
    }
}

#[test]
fn without_a_grant_no_socket_is_reached() {
    network(0, &[], &[]);
}

#[test]
fn a_grant_of_an_address_and_port_allows_only_those() {
    // TCP: the address, and the look-up of the address. UDP: sending, connecting, and sending after connecting.
    network(1, &["--allow", "127.0.0.1:P"], &[("tcp 127.0.0.1", 2), ("udp 127.0.0.1", 3)]);
}

#[test]
fn a_grant_of_a_name_and_port_allows_the_resolved_address() {
    // By two spellings of the name, and then by the address that it resolved to.
    network(2, &["--allow", "localhost:P"], &[("tcp 127.0.0.1", 3), ("udp 127.0.0.1", 3)]);
}

/// The control of the tests above: with every grant the same attempts succeed.
#[test]
fn with_every_grant_the_same_attempts_reach_every_socket() {
    for generation in GENERATIONS {
        let machine = Machine::new(&EVERYWHERE);
        let mut tried = vec![machine.ports("tcp-connect=127.0.0.1:Q")];
        for ip in EVERYWHERE {
            for what in ["tcp-connect", "udp-send", "udp-connect"] {
                tried.push(format!("{what}={ip}:{}", machine.port));
            }
        }
        let tried: Vec<_> = tried.iter().map(String::as_str).collect();
        let found = attempts(wharf(), generation, &["--allow", "*"], &tried);
        assert!(found.iter().all(|line| line.contains("DID IT")), "{generation}: {found:#?}");
        let mut all: BTreeMap<_, _> = machine.tcp.iter().map(|(name, _)| (&**name, 1)).collect();
        all.extend(machine.udp.iter().map(|(name, _)| (&**name, 2)));
        assert_eq!(machine.called(), all, "{generation}");
    }
}

// Guests that wait for a line of input.

/// A running guest. It is killed when it is dropped.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command, generation: &str, grants: &[&str], attempts: &[&str]) -> Self {
        command.arg("run").args(grants).arg(breakout(generation)).arg("--").args(attempts);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { input: child.stdin.take(), child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// Asserts the outcomes of the next attempts.
    fn expect(&self, machine: &Machine, outcomes: &[&str]) {
        for outcome in outcomes {
            let line = self.line();
            assert_eq!(line.split_once('\t').unwrap().1, machine.ports(outcome), "{line}");
        }
    }

    fn write_line(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn end_input(&mut self) {
        self.input = None;
    }

    /// The one socket of the process that another process can connect or send to.
    fn sockets(&self) -> BTreeSet<(&'static str, SocketAddr)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The kernel may omit a socket or list it twice if others open and close during the read.
            let found = self.sockets_now();
            if !found.is_empty() || Instant::now() > deadline {
                return found;
            }
        }
    }

    /// TCP sockets that listen, and all UDP ones.
    fn sockets_now(&self) -> BTreeSet<(&'static str, SocketAddr)> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let own: BTreeSet<_> = open.map(|link| link.to_str().unwrap().to_owned()).collect();
        let mut found = BTreeSet::new();
        for (protocol, table) in [("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6")] {
            let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap();
            for line in text.lines().skip(1) {
                let words: Vec<_> = line.split_whitespace().collect();
                let listens = protocol == "udp" || words[3] == "0A";
                if listens && own.contains(&format!("socket:[{}]", words[9])) {
                    found.insert((protocol, kernel_address(words[1])));
                }
            }
        }
        found
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Parses an address as the kernel prints it: `0100007F:0050` is 127.0.0.1:80 on a little-endian machine.
fn kernel_address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let word = |at: usize| u32::from_str_radix(&ip[at..at + 8], 16).unwrap().to_ne_bytes();
    let ip: IpAddr = if ip.len() == 8 {
        word(0).into()
    } else {
        let bytes = [word(0), word(8), word(16), word(24)].concat();
        <[u8; 16]>::try_from(bytes).unwrap().into()
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap())
}

// Listening.

/// Sends data to a socket from this process. For TCP, waits until the connection ends, and asserts that no data comes back.
fn call(protocol: &str, mut address: SocketAddr) {
    if address.ip().is_unspecified() {
        let localhost: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        address.set_ip(localhost[usize::from(address.is_ipv6())]);
    }
    if protocol == "udp" {
        let from = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        UdpSocket::bind(from).unwrap().send_to(b"hello", address).unwrap();
        return;
    }
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(b"hello").ok();
    let mut answer = Vec::new();
    let end = connection.read_to_end(&mut answer);
    let ended = end.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
    assert!(ended && answer.is_empty(), "{address}: {end:?} {answer:?}");
}

/// Runs a guest that holds a socket, and calls every socket of its process. Returns the addresses called, and the outcome that
/// the guest prints.
fn hold(generation: &str, grants: &[&str], attempt: &str) -> (Vec<SocketAddr>, String) {
    let mut guest = Running::start(wharf(), generation, grants, &[attempt]);
    let mut line = guest.line();
    let mut called = Vec::new();
    if line == "holds" {
        for (protocol, address) in guest.sockets() {
            assert!(attempt.starts_with(protocol), "{attempt} opened a socket of {protocol}");
            call(protocol, address);
            called.push(address);
        }
        guest.end_input();
        line = guest.line();
    }
    (called, line.split_once('\t').unwrap().1.to_owned())
}

/// An address of this machine on the network.
fn machine_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connecting a UDP socket sends nothing; it makes the system choose a source address.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip())
}

const LISTEN_ON: [&str; 5] = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]"];
/// A grant to connect elsewhere, which is not a grant to listen.
const FAR: &[&str] = &["--allow", "192.0.2.7:80"];

#[test]
fn listeners_are_unreachable_from_outside_the_workload() {
    for generation in GENERATIONS {
        for grants in [&[], FAR] {
            // A port in use on the machine is free on the workload's loopback.
            let taken = Machine::new(&EVERYWHERE);
            for ip in LISTEN_ON {
                for port in [0, taken.port] {
                    let (called, outcome) = hold(generation, grants, &format!("tcp-hold={ip}:{port}"));
                    assert_eq!(outcome, "DID IT: nobody connected", "{generation} {grants:?} tcp-hold={ip}:{port}");
                    assert!(called.iter().all(|at| at.ip().is_loopback()), "{called:?}");
                    assert_eq!(called.len(), 1, "{generation} {grants:?} {ip}:{port} was called at: {called:?}");
                    let (called, outcome) = hold(generation, grants, &format!("udp-hold={ip}:{port}"));
                    assert_eq!(outcome, "DID IT: received 0 datagrams", "{generation} {grants:?} udp-hold={ip}:{port}");
                    // A socket with a grant to send may be bound to a port of the machine.
                    assert!(!grants.is_empty() || called.iter().all(|at| at.ip().is_loopback()), "{called:?}");
                    assert_eq!(called.len(), 1, "{generation} {grants:?} {ip}:{port} was called at: {called:?}");
                }
            }
            assert_eq!(taken.called(), BTreeMap::new());
        }
    }
}

#[test]
fn listening_on_an_address_of_the_machine_needs_every_grant() {
    let Some(ip) = machine_address() else { return };
    let port = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
    for generation in GENERATIONS {
        let tcp = |grants, port: u16| hold(generation, grants, &format!("tcp-hold={ip}:{port}")).1;
        let udp = |grants, port: u16| hold(generation, grants, &format!("udp-hold={ip}:{port}")).1;
        assert_eq!(tcp(&[], 0), "refused: access-denied (bind)");
        assert_eq!(udp(&[], 0), "refused: access-denied (bind)");
        assert_eq!(tcp(FAR, port), "refused: access-denied (bind)");
        assert_eq!(udp(FAR, port), "refused: access-denied (bind)");
        assert_eq!(tcp(FAR, 0), "refused: access-denied (listen)", "it may be bound, to connect from there");
        assert_eq!(udp(FAR, 0), "DID IT: received 0 datagrams", "it may be bound, to send from there");
    }
}

/// The control of the tests above: with every grant the same listeners are reachable.
#[test]
fn with_every_grant_the_same_listeners_are_reached() {
    for generation in GENERATIONS {
        for ip in LISTEN_ON {
            let (called, outcome) = hold(generation, &["--allow", "*"], &format!("tcp-hold={ip}:0"));
            assert_eq!(outcome, "DID IT: somebody connected", "{generation} tcp-hold={ip}: {called:?}");
        }
        for ip in LISTEN_ON {
            let tried = format!("udp-hold={ip}:0");
            let guest = Running::start(wharf(), generation, &["--allow", "*"], &[&tried]);
            assert_eq!(guest.line(), "holds");
            guest.sockets().iter().for_each(|(protocol, address)| call(protocol, *address));
            assert_eq!(guest.line(), format!("{tried}\tDID IT: received 1 datagrams"), "{generation}");
        }
    }
}

// Names whose addresses change.

#[test]
fn a_name_allows_only_addresses_that_a_look_up_returned() {
    for generation in GENERATIONS {
        let names = Names::new("127.0.0.2 db.test\n");
        let machine = Machine::new(&["127.0.0.2", "127.0.0.3"]);
        let tried = [
            "tcp-connect=127.0.0.2:P",
            "lookup-connect=db.test:P",
            "tcp-connect=127.0.0.2:P",
            "tcp-connect=127.0.0.3:P",
            "wait-input",
            "tcp-connect=127.0.0.2:P",
            "tcp-connect=127.0.0.3:P",
            // After the second look-up the new address is allowed.
            "lookup-connect=db.test:P",
            "tcp-connect=127.0.0.3:P",
            "tcp-connect=127.0.0.3:Q",
        ]
        .map(|attempt| machine.ports(attempt));
        let tried = tried.each_ref().map(String::as_str);
        let mut guest =
            Running::start(names.wharf(), generation, &["--allow", &machine.ports("tcp://db.test:P")], &tried);
        let (old, new) = ("DID IT: connected to 127.0.0.2:P", "DID IT: connected to 127.0.0.3:P");
        guest.expect(&machine, &[REFUSED, old, old, REFUSED]);
        assert_eq!(machine.called(), BTreeMap::from([("tcp 127.0.0.2", 2)]));
        names.change("127.0.0.3 db.test\n");
        guest.write_line();
        guest.expect(&machine, &["DID IT: a line came", old, REFUSED, new, new, REFUSED]);
        assert!(guest.child.wait().unwrap().success());
        assert_eq!(machine.called(), BTreeMap::from([("tcp 127.0.0.2", 1), ("tcp 127.0.0.3", 2)]), "{generation}");
    }
}

/// The owner of a domain, not the author of the manifest, chooses the names below a wildcard.
#[test]
fn a_wildcard_never_leads_to_the_host_itself_or_its_links() {
    let names = Names::new(
        "127.0.0.3 inner.example.test\n::1 six.example.test\n0.0.0.0 nowhere.example.test\n\
         ::ffff:127.0.0.3 mapped.example.test\n169.254.169.254 cloud.example.test\nfe80::1 link.example.test\n",
    );
    let denied = "refused: access-denied (connect)";
    // Without a grant for the machine's loopback, connections go to the workload's own, which has no listener.
    let expected = [
        ("lookup-connect=inner.example.test:P", REFUSED),
        ("tcp-connect=127.0.0.3:P", REFUSED),
        ("lookup-connect=INNER.EXAMPLE.TEST:P", REFUSED),
        ("lookup-connect=six.example.test:P", REFUSED),
        ("lookup-connect=nowhere.example.test:P", INVALID),
        ("lookup-connect=mapped.example.test:P", REFUSED),
        ("tcp-connect=127.0.0.1:P", REFUSED),
        ("lookup-connect=cloud.example.test:P", denied),
        ("lookup-connect=link.example.test:P", denied),
        ("lookup-connect=example.test:P", NOT_LOOKED_UP),
        ("lookup-connect=innerexample.test:P", NOT_LOOKED_UP),
        ("udp-send=127.0.0.3:P", SENT),
    ];
    for (index, generation) in GENERATIONS.into_iter().enumerate() {
        let machine = Machine::new(&["127.0.0.1", "127.0.0.3", "[::1]"]);
        let tried = expected.map(|(attempt, _)| machine.ports(attempt));
        let wanted = expected
            .map(|(attempt, outcomes)| machine.ports(&format!("{attempt}\t{}", of_generation(outcomes, index))));
        let tried = tried.each_ref().map(String::as_str);
        let found = attempts(names.wharf(), generation, &["--allow", &machine.ports("*.example.test:P")], &tried);
        assert_lines(&found, &wanted, generation);
        assert_eq!(machine.called(), BTreeMap::new(), "{generation}");
        // A name in full may lead anywhere.
        let both = ["--allow", &machine.ports("*.example.test:P"), "--allow", &machine.ports("inner.example.test:P")];
        let found = attempts(names.wharf(), generation, &both, &tried[..1]);
        assert_eq!(found, [machine.ports("lookup-connect=inner.example.test:P\tDID IT: connected to 127.0.0.3:P")]);
        assert_eq!(machine.called(), BTreeMap::from([("tcp 127.0.0.3", 1)]), "{generation}");
    }
}
