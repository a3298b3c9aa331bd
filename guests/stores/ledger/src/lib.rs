//! Counts notes in a store of its own, by the workload and the component that calls; notes which workloads use it, and refuses one that
//! is named `unwanted`.

wit_bindgen::generate!({ path: "../wit/ledger.wit", world: "provider", generate_all });

use exports::wasmcloud::host::workload_lifecycle::{Guest as Lifecycle, WorkloadInfo};
use exports::wharf::stores::ledger::Guest;
use wasi::keyvalue::atomics;
use wasi::keyvalue::store::{Bucket, open};
use wasmcloud::host::identity;

struct Ledger;

export!(Ledger);

fn bucket() -> Bucket {
    open("ledger").unwrap()
}

impl Guest for Ledger {
    fn note(text: String) -> String {
        let caller = format!("{} {}", identity::get_workload_id(), identity::get_component_id());
        let count = atomics::increment(&bucket(), &format!("{caller} {text}"), 1).unwrap();
        format!("{caller} {count}")
    }

    fn entries() -> Vec<String> {
        bucket().list_keys(None).unwrap().keys
    }

    fn next(number: u32) -> u32 {
        number.wrapping_add(1)
    }
}

impl Lifecycle for Ledger {
    async fn on_workload_bind(workload: WorkloadInfo) -> Result<(), String> {
        if workload.name == "unwanted" {
            return Err("it is unwanted".to_owned());
        }
        assert_eq!(identity::get_workload_id(), workload.id);
        let interfaces = workload.interfaces.iter().flat_map(|binding| &binding.interfaces);
        let interfaces = interfaces.cloned().collect::<Vec<_>>().join(",");
        let value = format!("{} {}", workload.components.join(","), interfaces);
        bucket().set(&format!("bound {}", workload.id), value.as_bytes()).unwrap();
        Ok(())
    }

    async fn on_workload_unbind(id: String) {
        bucket().delete(&format!("bound {id}")).unwrap();
        bucket().set(&format!("unbound {id}"), b"").unwrap();
    }
}
