//! Keeps the entries in a file of the first volume that it is given: one line of JSON each, appended.

use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

wit_bindgen::generate!({ path: "../wit", world: "store-component", additional_derives: [serde::Serialize, serde::Deserialize] });

use exports::guestbook::app::store::{Entry, Guest};

const FILE: &str = "entries.ndjson";

struct Store;

export!(Store);

impl Guest for Store {
    async fn add(entry: Entry) -> Result<(), String> {
        let line = serde_json::to_string(&entry).map_err(|error| error.to_string())? + "\n";
        let file = open(OpenFlags::CREATE, DescriptorFlags::WRITE).await.map_err(said)?;
        let (mut to, contents) = wasip3::wit_stream::new();
        let done = file.append_via_stream(contents);
        to.write_all(line.into_bytes()).await;
        drop(to);
        done.await.map_err(said)
    }

    async fn all() -> Result<Vec<Entry>, String> {
        let file = match open(OpenFlags::empty(), DescriptorFlags::READ).await {
            Err(ErrorCode::NoEntry) => return Ok(Vec::new()),
            file => file.map_err(said)?,
        };
        let (contents, done) = file.read_via_stream(0);
        let bytes = contents.collect().await;
        done.await.map_err(said)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        // A line that was cut short by a crash is not worth the whole book.
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).rev().collect())
    }
}

async fn open(how: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, ErrorCode> {
    let (volume, _) = get_directories().into_iter().next().ok_or(ErrorCode::NoEntry)?;
    volume.open_at(PathFlags::empty(), FILE.into(), how, flags).await
}

fn said(error: ErrorCode) -> String {
    format!("the guestbook's file: {error:?}")
}
