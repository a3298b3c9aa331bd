#!/usr/bin/env bash
# Unpacks a Rust toolchain for WebAssembly to a folder, for machines on which rustup cannot add targets. Installs nothing.
# Requires Debian's apt with a current index (`apt-get update`), npm, and rustup's own toolchain for the linker.
# `cargo xtask guests` runs this script only if rustup does not have the target wasm32-wasip2.
set -euo pipefail
folder=$(realpath -m "${1:?usage: toolchain.sh FOLDER}")
mkdir -p "$folder/debs" "$folder/sysroot" "$folder/bin"
cd "$folder/debs"

version=$(apt-cache policy rustc-web | awk '/Candidate/ { print $2 }')
series=$(cut -d. -f1,2 <<<"$version")
llvm=$(apt-cache depends "libstd-rust-web-$series=$version" | grep -o 'libllvm[0-9]*' | head -1)
apt-get download "rustc-web=$version" "libstd-rust-web-dev=$version" "libstd-rust-web-$series=$version" \
    "rust-web-src=$version" "$llvm"
for deb in ./*.deb; do
    case $deb in
    # Of the sources, only the standard library is needed.
    ./rust-web-src*)
        dpkg-deb --fsys-tarfile "$deb" | tar x -C ../sysroot --wildcards './usr/lib/*' './usr/src/rustc-*/library' ;;
    *) dpkg -x "$deb" ../sysroot ;;
    esac
done
usr=$folder/sysroot/usr

cat >"$folder/bin/rustc" <<WRAPPER
#!/bin/sh
export LD_LIBRARY_PATH=$usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
exec $usr/bin/rustc "\$@"
WRAPPER
chmod +x "$folder/bin/rustc"

# The linkers come with rustup's toolchain.
linkers=$(dirname "$(rustup which rustc)")/../lib/rustlib/x86_64-unknown-linux-gnu/bin
ln -sfn "$(realpath "$linkers")" "$usr/lib/rustlib/x86_64-unknown-linux-gnu/bin"

# The C library for the targets with a standard library comes from an npm package.
cd "$folder"
npm pack --silent @yowasp/clang@22.0.0-git20542-10 >/dev/null
tar xzf yowasp-clang-*.tgz package/gen/llvm-resources.tar
for target in wasm32-wasip1 wasm32-wasip2; do
    libc=$usr/lib/rustlib/$target/lib/self-contained
    mkdir -p "$libc"
    tar xf package/gen/llvm-resources.tar -C "$libc" --strip-components=2 \
        lib/wasm32-wasip1/{crt1-command.o,crt1-reactor.o,libc.a}
done
rm -rf package yowasp-clang-*.tgz debs

# The linker of rustup's toolchain does not know imports under a label yet.
cargo install --quiet --locked --root "$folder" wasm-component-ld --version 0.5.31

bin=$usr/lib/rustlib/x86_64-unknown-linux-gnu/bin
cat >"$folder/env.sh" <<ENV
export RUSTC=$folder/bin/rustc RUSTC_BOOTSTRAP=1
export PATH=$bin/gcc-ld:\$PATH
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$folder/bin/wasm-component-ld
ENV
"$folder/bin/rustc" -V
