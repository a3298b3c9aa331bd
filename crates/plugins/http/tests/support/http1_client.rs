//! An HTTP/1.1 client that reads the exact bytes of a connection: it reports bytes that belong to no response, which an
//! HTTP library might skip.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::TIMEOUT;

pub struct Http1Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A response from its first byte to its last.
    Complete(Response),
    /// The connection closed before the end of the response.
    Truncated,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Http1Client {
    pub async fn connect(address: std::net::SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // If the server has closed the connection, the next read reports it.
        self.stream.write_all(bytes).await.ok();
    }

    /// Reads more bytes into the buffer. Returns false when the connection has closed.
    async fn fill(&mut self) -> bool {
        matches!(tokio::time::timeout(TIMEOUT, self.stream.read_buf(&mut self.buffer)).await.unwrap(), Ok(1..))
    }

    /// Waits until the server closes the connection. Returns whether no unread bytes remain.
    pub async fn is_closed_and_empty(&mut self) -> bool {
        while self.fill().await {}
        self.buffer.is_empty()
    }

    /// Reads the response to a request of this method.
    pub async fn read(&mut self, method: &str) -> Received {
        let Some((status, headers)) = self.read_head().await else { return Received::Truncated };
        let mut response = Response { status, headers, body: Vec::new() };
        // RFC 9112, section 6.3.
        let is_complete = if method == "HEAD" || [204, 304].contains(&status) {
            true
        } else if response.header("transfer-encoding").is_some() {
            self.read_chunks(&mut response.body).await
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().unwrap();
            self.read_exact(length, &mut response.body).await
        } else {
            while self.fill().await {}
            response.body.append(&mut self.buffer);
            true
        };
        if is_complete { Received::Complete(response) } else { Received::Truncated }
    }

    async fn read_head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = head.parse(&self.buffer).expect("invalid response head") {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let all = head.headers.iter().map(|header| (header.name.to_lowercase(), text(header.value))).collect();
                let status = head.code.unwrap();
                self.buffer.drain(..length);
                return Some((status, all));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn read_exact(&mut self, count: usize, into: &mut Vec<u8>) -> bool {
        while self.buffer.len() < count {
            if !self.fill().await {
                return false;
            }
        }
        into.extend(self.buffer.drain(..count));
        true
    }

    async fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn read_chunks(&mut self, into: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.read_line().await else { return false };
            let length = usize::from_str_radix(&line, 16).expect("invalid chunk size");
            if length > 0 {
                if !self.read_exact(length, into).await || self.read_line().await.is_none_or(|line| !line.is_empty()) {
                    return false;
                }
                continue;
            }
            loop {
                match self.read_line().await.as_deref() {
                    None => return false,
                    Some("") => return true,
                    Some(trailer) => assert!(trailer.contains(':'), "invalid trailer `{trailer}`"),
                }
            }
        }
    }
}
