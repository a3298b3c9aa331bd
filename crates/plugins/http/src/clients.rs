//! How many connections clients may have, and whose goes when there are too many.
//!
//! Takes addresses and connections; gives whether one more may be served. When the server is full, a client that holds
//! less than its share displaces a connection of the client that holds most, an idle one if there is one. So one client
//! cannot lock out the others, however many connections it opens.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::connection::Connection;

/// The connections of all clients.
pub(crate) struct Clients {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: usize,
    clients: HashMap<IpAddr, Vec<Weak<Connection>>>,
}

/// What happens to a connection that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Admit,
    /// Admit it in the place of one that the client with most connections has.
    Displace,
    Refuse,
}

/// Decides about a client's next connection: `open` connections of `clients` clients, this one among them, `own` of them
/// its own, and `most` in all.
fn decide(most: usize, open: usize, clients: usize, own: usize) -> Admission {
    if open < most {
        Admission::Admit
    } else if own < most / clients.max(1) {
        Admission::Displace
    } else {
        Admission::Refuse
    }
}

/// A client's connection, counted until this is dropped.
pub(crate) struct Counted {
    clients: Arc<Clients>,
    client: IpAddr,
    connection: Arc<Connection>,
}

impl Counted {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Clients {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection from this address; `None` when it is refused.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let client = client(address);
        let mut table = self.table();
        let own = table.clients.get(&client).map_or(0, Vec::len);
        let clients = table.clients.len() + usize::from(own == 0);
        match decide(self.most, table.open, clients, own) {
            Admission::Admit => {}
            Admission::Displace if table.displace() => {}
            Admission::Displace | Admission::Refuse => return None,
        }
        let connection = Arc::new(Connection::default());
        table.open += 1;
        table.clients.entry(client).or_default().push(Arc::downgrade(&connection));
        drop(table);
        Some(Counted { clients: self.clone(), client, connection })
    }
}

impl Table {
    /// Has one connection end of the client that has most which are not ending yet; gives whether there is one. It is counted
    /// until it has ended.
    fn displace(&self) -> bool {
        fn alive(connections: &[Weak<Connection>]) -> impl DoubleEndedIterator<Item = Arc<Connection>> {
            connections.iter().filter_map(Weak::upgrade).filter(|connection| !connection.is_ending())
        }
        let Some(most) = self.clients.values().max_by_key(|connections| alive(connections).count()) else {
            return false;
        };
        // The oldest idle one, else the newest: it has the least to lose.
        let idle = alive(most).find(|connection| connection.is_idle());
        idle.or_else(|| alive(most).next_back()).inspect(|connection| connection.displace()).is_some()
    }
}

impl Drop for Counted {
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

/// Who an address stands for: an IPv4 address, or the /64 that one site of IPv6 has.
fn client(address: IpAddr) -> IpAddr {
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
    use super::{Admission, Clients, client, decide};

    #[test]
    fn a_full_server_admits_a_client_with_less_than_its_share() {
        assert_eq!(decide(100, 99, 1, 99), Admission::Admit);
        assert_eq!(decide(100, 100, 1, 100), Admission::Refuse, "one client alone has everything");
        assert_eq!(decide(100, 100, 2, 0), Admission::Displace);
        assert_eq!(decide(100, 100, 2, 49), Admission::Displace);
        assert_eq!(decide(100, 100, 2, 50), Admission::Refuse);
        assert_eq!(decide(1, 1, 2, 0), Admission::Refuse);
    }

    #[test]
    fn a_newcomer_displaces_an_idle_connection_of_the_largest_client() {
        let clients = Clients::new(3);
        let [many, one]: [std::net::IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let held: Vec<_> = (0..3).map(|_| clients.admit(many).unwrap()).collect();
        let busy = held[0].connection().begin();
        assert!(clients.admit(many).is_none());
        let newcomer = clients.admit(one).unwrap();
        let ending: Vec<bool> = held.iter().map(|held| held.connection().is_ending()).collect();
        assert_eq!(ending, [false, true, false], "the oldest that is idle");
        drop((busy, held));
        assert!(clients.admit(many).is_some());
        drop(newcomer);
    }

    #[test]
    fn a_site_of_ipv6_is_one_client() {
        let of = |address: &str| client(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
