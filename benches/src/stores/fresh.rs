//! A fresh HTTP request of a component that imports a key-value store and does not use it, beside one that imports none.

use crate::process::{Server, program};
use crate::serve::Figures;
use crate::{Result, goal, guest, stores_guest};

/// Short rounds in turn: the difference is smaller than what the machine does meanwhile.
const ROUNDS: usize = 9;

pub(super) fn measure() -> Result {
    let wharf = program("wharf")?;
    let folder = std::env::temp_dir().join(format!("wharf-bench-fresh-{}", std::process::id()));
    let server = |name: &str, component: &std::path::Path, store: &str| -> Result<Server> {
        let manifest = folder.join(name);
        std::fs::create_dir_all(&manifest)?;
        let component = component.display();
        let text = format!(
            "name = 'hello'\n[components.web]\nsource = '{component}'\n{store}\n[[triggers.http]]\ncomponent = 'web'\n"
        );
        std::fs::write(manifest.join("wharf.toml"), text)?;
        Ok(Server::new(name, &[&wharf, "up", &manifest.display().to_string(), "--listen", "{address}"]))
    };
    let without = server("without a store", &guest("hello-p2"), "")?;
    let granted = "keyvalue = { default = 's' }\n[keyvalue.s]\nbackend = 'memory'";
    let with = server("with a store that is not used", &stores_guest("hello-keyvalue"), granted)?;
    let mut figures = [Figures::new(), Figures::new()];
    for _ in 0..ROUNDS {
        for (server, figures) in [&without, &with].into_iter().zip(&mut figures) {
            figures.round(server)?;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    let [without, with] = figures.map(Figures::cpu);
    println!("CPU µs a fresh request: without a store {without:.1}, with a store that is not used {with:.1}");
    // Equal, as far as this can be measured.
    goal("a fresh request that does not use its store : one without", with / without, 1.05);
    Ok(())
}
