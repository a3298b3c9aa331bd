//! Reads a sibling's stream to its end in pieces of 64 KiB, and counts the bytes.

wit_bindgen::generate!({ path: "../../wit/streams.wit", world: "taker" });

use fixture::streams::source;
use wit_bindgen::StreamResult;

const PIECE: usize = 64 * 1024;

struct Taker;

export!(Taker);

impl exports::fixture::streams::sink::Guest for Taker {
    async fn take(bytes: u64) -> u64 {
        let mut contents = source::open(bytes).await;
        let mut piece = Vec::with_capacity(PIECE);
        let mut count = 0;
        loop {
            let (result, read) = contents.read(piece).await;
            count += read.len() as u64;
            if !matches!(result, StreamResult::Complete(_)) {
                return count;
            }
            piece = read;
            piece.clear();
        }
    }
}
