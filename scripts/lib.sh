# Shared by the scripts: where things are, how packages get onto the machine. Sourced, never run.
# shellcheck shell=bash disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
cache=$root/.cache # downloads and unpacked tools; git ignores it; safe to delete at any time
me=${0##*/}

say() { printf '%s\n' "$*" >&2; }

# die CODE SENTENCE: 2 wrong use, 3 missing tool, 4 a registry does not answer, 5 the result is wrong
die() {
    local code=$1
    shift
    say "$me: $*"
    exit "$code"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_update() { # once a day and checkout is enough
    local stamp=$cache/apt-updated
    [ -z "$(find "$stamp" -mtime -1 2>/dev/null)" ] || return 0
    as_root apt-get -qq update >/dev/null 2>&1 || die 4 "the package archive does not answer (apt-get update failed)"
    mkdir -p "$cache" && touch "$stamp"
}

# packages WHY NAME...: installs the Debian packages that are missing, saying so
packages() {
    local why=$1 name missing=()
    shift
    for name; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || die 3 "needs ${missing[*]} $why, and this machine has no apt-get to install them"
    say "$me: installing ${missing[*]} ($why)"
    apt_update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        "${missing[@]}" >/dev/null 2>"${TMPDIR:-/tmp}/apt-$$.log" || {
        tail -n 3 "${TMPDIR:-/tmp}/apt-$$.log" >&2
        rm -f "${TMPDIR:-/tmp}/apt-$$.log" "$cache/apt-updated" # its lists may be what is wrong
        die 3 "could not install ${missing[*]} $why"
    }
    rm -f "${TMPDIR:-/tmp}/apt-$$.log"
}

# tools NAME...: what a package brought may have been taken away
tools() {
    local name
    for name; do command -v "$name" >/dev/null || die 3 "needs $name, which is not there"; done
}

# linker: what a bare machine lacks before `cargo build` can work
linker() {
    command -v cargo >/dev/null || die 3 "needs a Rust toolchain (https://rustup.rs), none found in PATH"
    if command -v cc >/dev/null && [ -e /usr/include/stdio.h ]; then return; fi
    packages "to link" gcc libc6-dev
}
