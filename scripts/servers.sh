#!/usr/bin/env bash
# Installs the servers that the tests start, unless they are installed. For Debian and its derivatives.
set -euo pipefail
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && exit
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
$sudo apt-get update -qq
# Installs the programs only: creates no cluster and starts no server.
$sudo mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql
