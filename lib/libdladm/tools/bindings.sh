#!/bin/sh
# SPDX-License-Identifier: CDDL-1.0
# Writes src/dlmgmt/sys.rs: what bindgen makes of the parts of libdladm that src/dlmgmt/native.rs uses.
#
# Needs bindgen (cargo install bindgen-cli), libclang, and libdladm's headers, which an illumos system has installed.
# In a source tree they lie apart, and a compiler of another system must be told what to take them for:
#	CLANG_ARGS="--target=x86_64-pc-solaris2.11 -nostdinc -I... -I..." lib/libdladm/tools/bindings.sh
# Declarations and numbers only: comments stay where they are.
set -eu
cd "$(dirname "$0")/.."

functions='dladm_open dladm_close dladm_create_datalink_id dladm_destroy_datalink_id dladm_datalink_id2info
	dladm_name2info dladm_walk_datalink_id'
statuses='OK BADARG TOOSMALL NOTSUP NOTFOUND BADVAL NOMEM EXIST LINKINVAL DENIED IOERR LINKBUSY TRYAGAIN'

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
printf '#include <%s>\n' libdladm.h libdllink.h >"$dir/all.h"
set -- "$dir/all.h" --rust-edition 2024 --rust-target 1.85 --use-core --no-doc-comments --no-layout-tests \
	--default-enum-style consts --no-prepend-enum-name --opaque-type dladm_handle --no-derive-debug --no-derive-copy \
	--merge-extern-blocks --disable-header-comment --formatter none --allowlist-var DLADM_WALK_CONTINUE
for f in $functions; do set -- "$@" --allowlist-function "$f"; done
# shellcheck disable=SC2086 # words
bindgen "$@" -- ${CLANG_ARGS:-} >"$dir/all.rs"

cat >src/dlmgmt/sys.rs <<'HEAD'
// SPDX-License-Identifier: CDDL-1.0
//! What [`super::native`] uses of `<libdladm.h>` and `<libdllink.h>`, as bindgen reads them: made by
//! `tools/bindings.sh`, not by hand.
#![allow(non_camel_case_types, reason = "names of C")]

HEAD
# Of an enumeration bindgen gives all numbers; those stay that are used.
keep=$(echo $statuses | tr ' ' '|')
rustfmt --edition 2024 <"$dir/all.rs" |
	awk -v keep="DLADM_STATUS_($keep|end)\$" '
		/^pub const (DLADM_STATUS|DATALINK_CLASS)_/ { split($3, name, ":"); if (name[1] !~ keep) next }
		/^unsafe extern "C"/ { print "#[link(name = \"dladm\")]" }
		{ print }' >>src/dlmgmt/sys.rs
rustfmt --edition 2024 src/dlmgmt/sys.rs
