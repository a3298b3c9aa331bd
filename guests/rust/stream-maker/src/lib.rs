//! Gives streams of as many bytes as are asked for, written in pieces of 64 KiB.

wit_bindgen::generate!({ path: "../../wit/streams.wit", world: "maker" });

use wit_bindgen::StreamReader;

const PIECE: u64 = 64 * 1024;

struct Maker;

export!(Maker);

impl exports::fixture::streams::source::Guest for Maker {
    async fn open(bytes: u64) -> StreamReader<u8> {
        let (mut to, contents) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            let mut left = bytes;
            let mut piece = Vec::new();
            while left > 0 {
                piece.resize(left.min(PIECE) as usize, 1);
                left -= piece.len() as u64;
                // Bytes that come back were not read: the reader is gone. Otherwise the buffer comes back empty.
                piece = to.write_all(piece).await;
                if !piece.is_empty() {
                    return;
                }
            }
        });
        contents
    }
}
