//! Admission of connections: how many each client may have, and which one closes when the server is full.
//!
//! Takes a client's address; gives a permit for one more connection, or none. When the server is full, a client that
//! has less than its share displaces a connection of the client that has the most, an idle one if there is one. One
//! client therefore cannot lock out the others, however many connections it opens.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::connection::ConnectionState;

/// The open connections of all clients.
pub(crate) struct Clients {
    max_connections: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: usize,
    clients: HashMap<IpAddr, Vec<Weak<ConnectionState>>>,
}

/// The decision about a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Admit,
    /// Admit it, and close one connection of the client that has the most.
    Displace,
    Refuse,
}

/// Decides about a client's next connection. `open` connections exist, of which `own` are the client's; `clients`
/// counts the clients including this one.
fn decide(max_connections: usize, open: usize, clients: usize, own: usize) -> Admission {
    if open < max_connections {
        Admission::Admit
    } else if own < max_connections / clients.max(1) {
        Admission::Displace
    } else {
        Admission::Refuse
    }
}

/// Counts one connection of a client until this is dropped.
pub(crate) struct ConnectionPermit {
    clients: Arc<Clients>,
    client: IpAddr,
    connection: Arc<ConnectionState>,
}

impl ConnectionPermit {
    pub(crate) fn state(&self) -> &Arc<ConnectionState> {
        &self.connection
    }
}

impl Clients {
    pub(crate) fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self { max_connections: max_connections.max(1), table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection from this address; `None` when it is refused.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let client = client_key(address);
        let mut table = self.table();
        let own = table.clients.get(&client).map_or(0, Vec::len);
        let clients = table.clients.len() + usize::from(own == 0);
        match decide(self.max_connections, table.open, clients, own) {
            Admission::Admit => {}
            Admission::Displace if table.displace() => {}
            Admission::Displace | Admission::Refuse => return None,
        }
        let connection = Arc::new(ConnectionState::default());
        table.open += 1;
        table.clients.entry(client).or_default().push(Arc::downgrade(&connection));
        drop(table);
        Some(ConnectionPermit { clients: self.clone(), client, connection })
    }
}

impl Table {
    /// Closes one connection of the client that has the most, not counting those that are closing already. Returns
    /// whether there is one. It stays counted until it has closed.
    fn displace(&self) -> bool {
        fn alive(connections: &[Weak<ConnectionState>]) -> impl DoubleEndedIterator<Item = Arc<ConnectionState>> {
            connections.iter().filter_map(Weak::upgrade).filter(|connection| !connection.is_closing())
        }
        let Some(most) = self.clients.values().max_by_key(|connections| alive(connections).count()) else {
            return false;
        };
        // Prefer the oldest idle connection, else the newest, which has done the least work.
        let idle = alive(most).find(|connection| connection.is_idle());
        idle.or_else(|| alive(most).next_back()).inspect(|connection| connection.displace()).is_some()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut table = self.clients.table();
        table.open -= 1;
        let own = Arc::as_ptr(&self.connection);
        if let Some(connections) = table.clients.get_mut(&self.client) {
            connections.retain(|connection| connection.as_ptr() != own);
            if connections.is_empty() {
                table.clients.remove(&self.client);
            }
        }
    }
}

/// The address that identifies a client: an IPv4 address, or the /64 prefix of an IPv6 address, which one site has.
fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Clients, client_key, decide};

    #[test]
    fn a_full_server_admits_a_client_with_less_than_its_share() {
        assert_eq!(decide(100, 99, 1, 99), Admission::Admit);
        assert_eq!(decide(100, 100, 1, 100), Admission::Refuse, "the only client has every connection");
        assert_eq!(decide(100, 100, 2, 0), Admission::Displace);
        assert_eq!(decide(100, 100, 2, 49), Admission::Displace);
        assert_eq!(decide(100, 100, 2, 50), Admission::Refuse);
        assert_eq!(decide(1, 1, 2, 0), Admission::Refuse);
    }

    #[test]
    fn a_new_client_displaces_an_idle_connection_of_the_largest_client() {
        let clients = Clients::new(3);
        let [large, small]: [std::net::IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let permits: Vec<_> = (0..3).map(|_| clients.admit(large).unwrap()).collect();
        let busy = permits[0].state().begin_exchange();
        assert!(clients.admit(large).is_none());
        let admitted = clients.admit(small).unwrap();
        let closing: Vec<bool> = permits.iter().map(|permit| permit.state().is_closing()).collect();
        assert_eq!(closing, [false, true, false], "the oldest idle connection closes");
        drop((busy, permits));
        assert!(clients.admit(large).is_some());
        drop(admitted);
    }

    #[test]
    fn an_ipv6_prefix_of_64_bits_is_one_client() {
        let of = |address: &str| client_key(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
