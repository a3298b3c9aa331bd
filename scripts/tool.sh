#!/usr/bin/env bash
# Installs a cargo tool in the given version, unless it is installed: scripts/tool.sh cargo-deny 0.20.2
set -euo pipefail
tool=${1:?tool} version=${2:?version}
command -v "$tool" >/dev/null && [ "$("$tool" --version 2>/dev/null | awk '{ print $2 }')" = "$version" ] && exit
# Tools share no dependencies with the project, so they have a target folder of their own.
CARGO_TARGET_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/wharf/tools" cargo install --quiet --locked "$tool" --version "$version"
