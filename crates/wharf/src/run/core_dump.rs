//! Core dumps of guests that trapped, in WebAssembly's own format
//! ([tool-conventions, `Coredump.md`](https://github.com/WebAssembly/tool-conventions/blob/main/Coredump.md)).

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::{Store, WasmCoreDump};
use wasmtime_wasi::I32Exit;

use crate::engine::core_dump::{CoreDumps, MAX_DUMPS};
use crate::store::StoreData;

/// Writes the dump that an error carries, if it carries one. A guest that exited or was ended by a limit did not trap.
pub(super) fn write(dumps: &CoreDumps, store: &mut Store<StoreData>, error: &wasmtime::Error) {
    let trapped = !error.is::<I32Exit>() && !store.data().is_interrupted();
    let Some(dump) = error.downcast_ref::<WasmCoreDump>().filter(|_| trapped) else { return };
    let Some(number) = dumps.next() else { return };
    let tracker = store.data().tracker();
    let (workload, entry) = (tracker.workload.clone(), tracker.entry.clone());
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let path = dumps.path(&format!("{}-{entry}-{at}-{number}.coredump", workload.replace('/', "-")));
    let bytes = dump.serialize(store, entry.as_str());
    let file = path.display();
    match dumps.write(&path, &bytes) {
        Ok(()) => tracing::info!(%workload, component = %entry, %file, "core dump written"),
        Err(error) => tracing::warn!(%workload, component = %entry, %file, %error, "cannot write the core dump"),
    }
    if number + 1 == MAX_DUMPS {
        tracing::warn!("{MAX_DUMPS} core dumps written; further ones are skipped until the process restarts");
    }
}
