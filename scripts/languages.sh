#!/usr/bin/env bash
# Installs the compilers that the templates' tests use, unless they are installed. For Debian and its derivatives; Go 1.25 or later and
# Node.js 20 or later must be there, because Debian's may be older.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wharf
for tool in go npm git; do
    command -v "$tool" >/dev/null || { echo "the templates' tests need \`$tool\`: install it first" >&2; exit 1; }
done
missing=()
command -v make >/dev/null || missing+=(make)
clang=$(compgen -c clang- | grep -E '^clang-[0-9]+$' | sort -V | tail -n 1 || true)
if [ -z "$clang" ] && [ ! -d "${WASI_SDK_PATH:-/none}" ]; then
    # The newest of Debian's that is there.
    newest=$(apt-cache search --names-only '^clang-[0-9]+$' | grep -oE '^clang-[0-9]+' | sort -V | tail -n 1)
    missing+=("$newest" "lld-${newest#clang-}" "libclang-rt-${newest#clang-}-dev-wasm32" wasi-libc)
elif [ ! -d /usr/include/wasm32-wasi ] && [ ! -d "${WASI_SDK_PATH:-/none}" ]; then
    missing+=("lld-${clang#clang-}" "libclang-rt-${clang#clang-}-dev-wasm32" wasi-libc)
fi
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} != 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
fi
if [ ! -x "$cache/python/bin/componentize-py" ]; then
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet 'componentize-py==0.25.1'
fi
# Rust with the target for components: rustup's, or an unpacked one.
if ! rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2 && [ ! -e "$cache/guest-toolchain/env.sh" ]; then
    bash guests/toolchain.sh "$cache/guest-toolchain"
fi
