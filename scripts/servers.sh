#!/usr/bin/env bash
# Installs the servers that the tests start, if they are not there. For Debian and what derives from it.
set -euo pipefail
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && exit
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
$sudo apt-get update -qq
# Only the programs: no cluster is made, and nothing is started.
$sudo mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql
