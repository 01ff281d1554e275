#!/bin/sh
# install-debs.sh PACKAGE... - installs those that are missing; only then it needs to be root or to have sudo.
if ! command -v dpkg-query >/dev/null; then
    echo "this is no Debian; what is needed must be here already, under other names perhaps: $*"
    exit 0
fi
missing=""
for p in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
sudo=""
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "no sudo here: run as root: apt-get install$missing"; exit 1; }
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing
