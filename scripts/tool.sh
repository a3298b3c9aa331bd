#!/usr/bin/env bash
# Installs one of cargo's tools in this version, if it is not there: scripts/tool.sh cargo-deny 0.20.2
set -euo pipefail
tool=${1:?tool} version=${2:?version}
command -v "$tool" >/dev/null && [ "$("$tool" --version 2>/dev/null | awk '{ print $2 }')" = "$version" ] && exit
# Built beside the project's own folder: tools share nothing with it.
CARGO_TARGET_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/wharf/tools" cargo install --quiet --locked "$tool" --version "$version"
