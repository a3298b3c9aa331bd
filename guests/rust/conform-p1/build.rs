//! Has the linker leave the core module as it is, where it would make a component of it and drop the names of functions.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=--skip-wit-component");
    println!("cargo::rustc-link-arg-cdylib=--strip-all");
}
