//! `wasi:tls@0.3.0-draft`: a connector turns a component's streams into encrypted ones.
//!
//! A connection has two directions, each set up before the handshake: what the component sends goes encrypted to where the component
//! takes it, and what it received comes back decrypted. Between them is a task of the instance, which ends with it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::io::{ReaderStream, StreamReader as BytesReader};
use wasmtime::component::{
    Access, Accessor, AccessorTask, FutureProducer, FutureReader, HasData, Resource, ResourceTable, StreamReader,
};
use wasmtime::{Result, StoreContextMut};
use wharf::{Scope, View};
use wharf_stores::streams::{Pieces, Taken};
use wharf_stores::{Held, InFlight};

use crate::bindings::wasi::tls::{client, types};
use crate::{CONNECTION_P3, ComponentTls, connect};

/// The bytes that wait between the connection and one of its streams.
const WINDOW: usize = 16 * 1024;

type Sent = std::result::Result<(), Failure>;

/// Why a connection failed: `error` of the interface.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Clone, Debug)]
pub struct Failure(String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Failure {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// One direction of a connection.
struct Direction {
    /// What the component gives.
    from: mpsc::Receiver<Bytes>,
    /// What the component takes.
    to: DuplexStream,
    result: oneshot::Sender<Sent>,
}

/// A connection before the handshake.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Default)]
pub struct Connector {
    send: Option<Direction>,
    receive: Option<Direction>,
}

/// The data of the bindings.
pub(crate) struct Tls<'a> {
    table: &'a mut ResourceTable,
    config: &'a Arc<ClientConfig>,
    in_flight: &'a InFlight,
    most: u64,
}

pub(crate) struct HasConnectors;

impl HasData for HasConnectors {
    type Data<'a> = Tls<'a>;
}

impl View for HasConnectors {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Tls<'_> {
        let ComponentTls { config, .. } = scope.binding();
        let most = scope.tracker.limits().memory;
        Tls { table: scope.table, config, in_flight: InFlight::of(scope.state), most }
    }
}

/// The data of `types`, which a unit's components share.
pub(crate) struct HasFailures;

impl HasData for HasFailures {
    type Data<'a> = Failures<'a>;
}

pub(crate) struct Failures<'a>(&'a mut ResourceTable);

impl View for HasFailures {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Failures<'_> {
        Failures(scope.table)
    }
}

impl types::Host for Failures<'_> {}
impl types::HostError for Failures<'_> {
    fn to_debug_string(&mut self, this: Resource<Failure>) -> Result<String> {
        Ok(self.0.get(&this)?.0.clone())
    }

    fn drop(&mut self, this: Resource<Failure>) -> Result<()> {
        self.0.delete(this)?;
        Ok(())
    }
}

impl client::Host for Tls<'_> {}
impl client::HostConnector for Tls<'_> {
    fn new(&mut self) -> Result<Resource<Connector>> {
        Ok(self.table.push(Connector::default())?)
    }

    fn drop(&mut self, this: Resource<Connector>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// What a component gets for a stream: the other side of it, and its result.
type Transformed = (StreamReader<u8>, FutureReader<std::result::Result<(), Resource<Failure>>>);

/// Sets a direction up, once.
fn transform<T: 'static>(
    store: &mut Access<'_, T, HasConnectors>,
    this: &Resource<Connector>,
    mut given: StreamReader<u8>,
    direction: fn(&mut Connector) -> &mut Option<Direction>,
) -> Result<Transformed> {
    let getter = store.getter();
    let (result, receiver) = oneshot::channel();
    let producer = ResultProducer { receiver, getter };
    let direction = direction(store.get().table.get_mut(this)?);
    if direction.is_some() {
        // The receiver is at hand, so that this arrives.
        result.send(Err(Failure::new("the connector has this stream already"))).ok();
        given.close(&mut *store)?;
        let nothing = Pieces::<io::Error>::new(stream::empty().boxed(), drop);
        return Ok((StreamReader::new(&mut *store, nothing)?, FutureReader::new(&mut *store, producer)?));
    }
    let (to, taken) = tokio::io::duplex(WINDOW);
    let (taker, from) = Taken::with_room(1);
    *direction = Some(Direction { from, to, result });
    given.pipe(&mut *store, taker)?;
    let pieces = Pieces::new(ReaderStream::with_capacity(taken, WINDOW).boxed(), drop);
    Ok((StreamReader::new(&mut *store, pieces)?, FutureReader::new(&mut *store, producer)?))
}

impl<T: Send + 'static> client::HostConnectorWithStore<T> for HasConnectors {
    fn send(
        mut store: Access<'_, T, Self>,
        this: Resource<Connector>,
        cleartext: StreamReader<u8>,
    ) -> Result<Transformed> {
        transform(&mut store, &this, cleartext, |connector| &mut connector.send)
    }

    fn receive(
        mut store: Access<'_, T, Self>,
        this: Resource<Connector>,
        ciphertext: StreamReader<u8>,
    ) -> Result<Transformed> {
        transform(&mut store, &this, ciphertext, |connector| &mut connector.receive)
    }

    async fn connect(
        accessor: &Accessor<T, Self>,
        this: Resource<Connector>,
        server_name: String,
    ) -> Result<std::result::Result<(), Resource<Failure>>> {
        let (connector, config, held) = accessor.with(|mut access| {
            let Tls { table, config, in_flight, most } = access.get();
            Ok::<_, wasmtime::Error>((table.delete(this)?, config.clone(), in_flight.hold(CONNECTION_P3 as u64, most)))
        })?;
        let connected = match (connector, held) {
            (_, None) => Err(Failure::new("the connections exceed the memory limit")),
            (Connector { send: Some(send), receive: Some(receive) }, Some(held)) => {
                handshake(&config, &server_name, send, receive, held).await
            }
            (Connector { .. }, Some(_)) => Err(Failure::new("`send` and `receive` come before `connect`")),
        };
        match connected {
            Ok(connection) => {
                accessor.spawn(connection)?;
                Ok(Ok(()))
            }
            Err(failure) => Ok(Err(accessor.with(|mut access| access.get().table.push(failure))?)),
        }
    }
}

/// The stream of the component, as one that TLS writes to and reads from.
type Transport = tokio::io::Join<BytesReader<Received, Bytes>, DuplexStream>;
type Received = BoxStream<'static, io::Result<Bytes>>;
type Encrypted = tokio_rustls::client::TlsStream<Transport>;

/// A connection after the handshake.
struct Connection {
    stream: Encrypted,
    cleartext: mpsc::Receiver<Bytes>,
    decrypted: DuplexStream,
    sent: oneshot::Sender<Sent>,
    received: oneshot::Sender<Sent>,
    _held: Held,
}

async fn handshake(
    config: &Arc<ClientConfig>,
    server_name: &str,
    send: Direction,
    receive: Direction,
    held: Held,
) -> std::result::Result<Connection, Failure> {
    let mut from = receive.from;
    let received = stream::poll_fn(move |cx| from.poll_recv(cx).map(|piece| piece.map(Ok))).boxed();
    let transport = tokio::io::join(BytesReader::new(received), send.to);
    match connect::handshake(config.clone(), server_name, transport).await {
        Ok(stream) => Ok(Connection {
            stream,
            cleartext: send.from,
            decrypted: receive.to,
            sent: send.result,
            received: receive.result,
            _held: held,
        }),
        Err(error) => {
            let failure = Failure::from(error);
            // A component that dropped a result does not want it.
            send.result.send(Err(failure.clone())).ok();
            receive.result.send(Err(failure.clone())).ok();
            Err(failure)
        }
    }
}

impl<T, D: HasData + ?Sized> AccessorTask<T, D> for Connection {
    async fn run(self, _: &Accessor<T, D>) -> Result<()> {
        let (reader, writer) = tokio::io::split(self.stream);
        let send = async {
            let sent = send(self.cleartext, writer).await;
            self.sent.send(sent.map_err(Failure::from)).ok();
        };
        let receive = async {
            let received = receive(reader, self.decrypted).await;
            self.received.send(received.map_err(Failure::from)).ok();
        };
        tokio::join!(send, receive);
        Ok(())
    }
}

/// Encrypts until the component drops its stream, which tells the server that no more comes.
async fn send(mut cleartext: mpsc::Receiver<Bytes>, mut writer: WriteHalf<Encrypted>) -> io::Result<()> {
    while let Some(piece) = cleartext.recv().await {
        writer.write_all(&piece).await?;
        if cleartext.is_empty() {
            writer.flush().await?;
        }
    }
    writer.shutdown().await
}

/// Decrypts until the server ends, or the component takes no more.
async fn receive(mut reader: ReadHalf<Encrypted>, mut decrypted: DuplexStream) -> io::Result<()> {
    let mut piece = vec![0; WINDOW];
    loop {
        let count = reader.read(&mut piece).await?;
        if count == 0 || decrypted.write_all(&piece[..count]).await.is_err() {
            return Ok(());
        }
    }
}

/// Produces the result of one direction.
struct ResultProducer<T: 'static> {
    receiver: oneshot::Receiver<Sent>,
    getter: for<'a> fn(&'a mut T) -> Tls<'a>,
}

impl<T: 'static> FutureProducer<T> for ResultProducer<T> {
    type Item = std::result::Result<(), Resource<Failure>>;

    fn poll_produce(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'_, T>,
        finish: bool,
    ) -> Poll<Result<Option<Self::Item>>> {
        let result = match Pin::new(&mut self.receiver).poll(cx) {
            Poll::Ready(result) => result.unwrap_or_else(|_| Err(Failure::new("the connection was not established"))),
            Poll::Pending if finish => return Poll::Ready(Ok(None)),
            Poll::Pending => return Poll::Pending,
        };
        let table = (self.getter)(store.data_mut()).table;
        Poll::Ready(Ok(Some(match result {
            Ok(()) => Ok(()),
            Err(failure) => Err(table.push(failure)?),
        })))
    }
}
