//! A client of HTTP/1.1 that reads what stands on the wire and nothing into it: bytes that no answer accounts for are
//! seen, where a library might skip them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::PATIENCE;

pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// An answer from its first byte to its last.
    Whole(Answer),
    /// The connection ended before the answer did.
    Cut,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub async fn connect(address: std::net::SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that closed the connection is what reading shows.
        self.stream.write_all(bytes).await.ok();
    }

    /// Whether more came.
    async fn more(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.unwrap(), Ok(1..))
    }

    /// Whether the connection ended, with nothing after what was read.
    pub async fn is_at_its_end(&mut self) -> bool {
        while self.more().await {}
        self.buffer.is_empty()
    }

    /// Reads the answer to a request of this method.
    pub async fn read(&mut self, method: &str) -> Read {
        let Some((status, headers)) = self.head().await else { return Read::Cut };
        let mut answer = Answer { status, headers, body: Vec::new() };
        // RFC 9112, section 6.3.
        let whole = if method == "HEAD" || [204, 304].contains(&status) {
            true
        } else if answer.header("transfer-encoding").is_some() {
            self.chunks(&mut answer.body).await
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            self.take(length, &mut answer.body).await
        } else {
            while self.more().await {}
            answer.body.append(&mut self.buffer);
            true
        };
        if whole { Read::Whole(answer) } else { Read::Cut }
    }

    async fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = head.parse(&self.buffer).expect("this is no answer") {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let all = head.headers.iter().map(|header| (header.name.to_lowercase(), text(header.value))).collect();
                let status = head.code.unwrap();
                self.buffer.drain(..length);
                return Some((status, all));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, count: usize, into: &mut Vec<u8>) -> bool {
        while self.buffer.len() < count {
            if !self.more().await {
                return false;
            }
        }
        into.extend(self.buffer.drain(..count));
        true
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn chunks(&mut self, into: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.line().await else { return false };
            let length = usize::from_str_radix(&line, 16).expect("a chunk begins with its length");
            if length > 0 {
                if !self.take(length, into).await || self.line().await.is_none_or(|line| !line.is_empty()) {
                    return false;
                }
                continue;
            }
            loop {
                match self.line().await.as_deref() {
                    None => return false,
                    Some("") => return true,
                    Some(trailer) => assert!(trailer.contains(':'), "`{trailer}` is no trailer"),
                }
            }
        }
    }
}
