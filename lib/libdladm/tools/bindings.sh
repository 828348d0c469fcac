#!/bin/sh
# SPDX-License-Identifier: CDDL-1.0
# Prints what bindgen makes of the functions, types and numbers that src/dlmgmt/sys.rs has, for comparison with it.
# For a system with libdladm's headers; HEADERS is where they are if not in /usr/include.
set -eu
for header in libdladm.h libdllink.h; do echo "#include <$header>"; done >/tmp/libdladm-bindings.$$.h
trap 'rm -f /tmp/libdladm-bindings.$$.h' EXIT
functions=$(sed -n 's/.*pub fn \(dladm_[a-z0-9_]*\).*/\1/p' "$(dirname "$0")/../src/dlmgmt/sys.rs" | paste -sd '|' -)
bindgen --allowlist-function "$functions" --allowlist-var 'DLADM_(STATUS|WALK)_.*' --opaque-type dladm_handle \
	--no-layout-tests "/tmp/libdladm-bindings.$$.h" -- -I"${HEADERS:-/usr/include}"
