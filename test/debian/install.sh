#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Debian packages that some tests use, where this runs as root and they are missing. Without them those
# tests skip and say so.
set -eu
missing=
command -v swtpm >/dev/null && command -v swtpm_setup >/dev/null || missing="swtpm swtpm-tools"
command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing="$missing chromium fonts-liberation"
command -v ssh-keygen >/dev/null || missing="$missing openssh-client"
command -v mariadbd >/dev/null || missing="$missing mariadb-server-core"
command -v fsverity >/dev/null || missing="$missing fsverity"
command -v docker-registry >/dev/null || missing="$missing docker-registry"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "not root, or no apt-get: without $missing"
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $missing >/dev/null || echo "cannot be installed: $missing"
