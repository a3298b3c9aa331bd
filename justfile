# Each lane of continuous integration is a recipe to run by name.

default:
    @just --list

# Everything that CI runs.
ci:
    .ci/run

# The tests, with the servers that they start.
test:
    scripts/servers.sh
    cargo test --workspace

# Formatting, house rules, lints.
check:
    cargo fmt --all --check
    cargo xtask tidy
    cargo xtask guests --check
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, sources and duplicates of dependencies.
deny:
    scripts/tool.sh cargo-deny 0.20.2
    cargo deny --log-level error check bans licenses sources

# The crates' documentation.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Fuzz every target, each for this many seconds.
fuzz seconds="60":
    scripts/tool.sh cargo-fuzz 0.13.1
    scripts/fuzz.sh {{seconds}}

# Build the fixture guests and the examples' components.
guests:
    cargo xtask guests

# Write the current output to the golden files.
bless:
    BLESS=1 cargo test --workspace --test manifests --test graphs --test wasi --test breakout --test wire

# Measure: calls, fuse, serve, start, cold, dense, fair, bodies, disk, sockets, streams, swap, features, manifest, provided or stores.
bench what:
    cargo build --release --workspace
    cargo run --release -p wharf-benches -- {{what}}
