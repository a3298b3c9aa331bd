//! Tests of `wasi:sockets`: what goes through TCP connections.

use wasip3::sockets::types::{ErrorCode, TcpSocket};
use wasip3::wit_stream;

use crate::conform::{Good, Outcome, Test, both, stream_of, within};
use crate::net::{V4, V6, listener, pair};

const SEND: &str = "wasi:sockets/types#[method]tcp-socket.send";
const RECEIVE: &str = "wasi:sockets/types#[method]tcp-socket.receive";

pub const TESTS: &[Test] = &[
    test!("tcp-send-receive", send_receive, [SEND, RECEIVE]),
    test!("tcp-send-much", send_much, [SEND, RECEIVE]),
    test!("tcp-echo", echo, [SEND, RECEIVE]),
    test!("tcp-half-closed", half_closed, [SEND, RECEIVE]),
    test!("tcp-send-refused", send_refused, [SEND]),
    test!("tcp-receive-refused", receive_refused, [RECEIVE]),
    test!("tcp-send-broken", send_broken, [SEND]),
    test!("tcp-receive-early-end", receive_early_end, [RECEIVE]),
    test!("tcp-receive-cancelled", receive_cancelled, [RECEIVE]),
    test!("tcp-outlive-socket", outlive_socket, [SEND, RECEIVE]),
];

async fn send_receive() -> Outcome {
    for family in [V4, V6] {
        let (client, server) = pair(family).await?;
        let (mut to, contents) = wit_stream::new();
        let sent = client.send(contents);
        let (mut got, received) = server.receive();
        same!(to.write_all(b"hello".to_vec()).await.len(), 0);
        let mut text = Vec::new();
        while text.len() < 5 {
            text.push(got.next().await.good()?);
        }
        same!(String::from_utf8_lossy(&text), "hello");
        // What is in the stream goes out, then the end does.
        same!(to.write_all(b" world".to_vec()).await.len(), 0);
        drop(to);
        sent.await.good()?;
        same!(String::from_utf8_lossy(&got.collect().await), " world");
        received.await.good()?;
    }
    Ok(())
}

async fn send_much() -> Outcome {
    let (client, server) = pair(V4).await?;
    let much: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let sent = client.send(stream_of(much.clone()));
    let (got, received) = server.receive();
    let (sent, got) = both(async { sent.await }, got.collect()).await;
    sent.good()?;
    ensure!(got == much, "{} bytes came, or others", got.len());
    received.await.good()
}

/// What a socket receives is sent back without the guest having it in hand.
async fn echo() -> Outcome {
    let (client, server) = pair(V4).await?;
    let (back, received) = server.receive();
    let echoed = server.send(back);
    let sent = client.send(stream_of(vec![7; 500_000]));
    let (got, done) = client.receive();
    same!(got.collect().await.len(), 500_000);
    sent.await.good()?;
    done.await.good()?;
    echoed.await.good()?;
    received.await.good()
}

async fn half_closed() -> Outcome {
    let (client, server) = pair(V4).await?;
    client.send(stream_of(b"question".to_vec())).await.good()?;
    let (got, received) = server.receive();
    same!(String::from_utf8_lossy(&got.collect().await), "question");
    received.await.good()?;
    // One direction has ended, the other has not.
    let answered = server.send(stream_of(b"answer".to_vec()));
    let (got, received) = client.receive();
    same!(String::from_utf8_lossy(&got.collect().await), "answer");
    answered.await.good()?;
    received.await.good()
}

async fn send_refused() -> Outcome {
    let (listening, _accepted, _) = listener(V4)?;
    for socket in [&TcpSocket::create(V4).good()?, &listening] {
        let (mut to, contents) = wit_stream::new();
        let sent = socket.send(contents);
        same!(to.write_all(b"lost".to_vec()).await.len(), 4);
        fails!(sent.await, ErrorCode::InvalidState);
    }
    let (client, server) = pair(V4).await?;
    let first = client.send(stream_of(b"first".to_vec()));
    fails!(client.send(stream_of(b"second".to_vec())).await, ErrorCode::InvalidState);
    first.await.good()?;
    fails!(client.send(stream_of(b"third".to_vec())).await, ErrorCode::InvalidState);
    same!(String::from_utf8_lossy(&server.receive().0.collect().await), "first");
    Ok(())
}

async fn receive_refused() -> Outcome {
    let (listening, _accepted, _) = listener(V4)?;
    for socket in [&TcpSocket::create(V4).good()?, &listening] {
        let (got, received) = socket.receive();
        same!(got.collect().await.len(), 0);
        fails!(received.await, ErrorCode::InvalidState);
    }
    let (client, server) = pair(V4).await?;
    let (first, first_done) = client.receive();
    let (second, second_done) = client.receive();
    same!(second.collect().await.len(), 0);
    fails!(second_done.await, ErrorCode::InvalidState);
    server.send(stream_of(b"text".to_vec())).await.good()?;
    same!(String::from_utf8_lossy(&first.collect().await), "text");
    first_done.await.good()
}

async fn send_broken() -> Outcome {
    let (client, server) = pair(V4).await?;
    drop(server);
    let (mut to, contents) = wit_stream::new();
    let sent = client.send(contents);
    let mut left = 0;
    for _ in 0..10_000 {
        left = to.write_all(vec![0; 10_000]).await.len();
        if left > 0 {
            break;
        }
    }
    ensure!(left > 0, "100 MB went to a peer that is gone");
    fails!(sent.await, ErrorCode::ConnectionBroken | ErrorCode::ConnectionReset | ErrorCode::ConnectionAborted);
    Ok(())
}

async fn receive_early_end() -> Outcome {
    let (client, server) = pair(V4).await?;
    let sent = client.send(stream_of(b"text".to_vec()));
    let (mut got, received) = server.receive();
    ensure!(got.next().await.is_some());
    drop(got);
    received.await.good()?;
    sent.await.good()?;
    let (got, received) = client.receive();
    // Nothing was ever sent: the end is the reader's.
    drop(got);
    received.await.good()
}

async fn receive_cancelled() -> Outcome {
    let (client, server) = pair(V4).await?;
    let (mut got, received) = server.receive();
    ensure!(within(20_000_000, got.next()).await.is_none());
    client.send(stream_of(b"late".to_vec())).await.good()?;
    same!(String::from_utf8_lossy(&got.collect().await), "late");
    received.await.good()
}

/// The streams of a socket go on when it is dropped.
async fn outlive_socket() -> Outcome {
    let (client, server) = pair(V4).await?;
    let (mut to, contents) = wit_stream::new();
    let sent = client.send(contents);
    let (got, received) = server.receive();
    drop(client);
    drop(server);
    let (left, got) = both(
        async move {
            let left = to.write_all(b"still here".to_vec()).await.len();
            drop(to);
            left
        },
        got.collect(),
    )
    .await;
    same!(left, 0);
    same!(String::from_utf8_lossy(&got), "still here");
    sent.await.good()?;
    received.await.good()
}
