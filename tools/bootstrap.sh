#!/bin/sh
# Make what a target needs: .venv, and on Debian as root the packages that are missing.
#
#     tools/bootstrap.sh [demo | test | lab | bench | docs]
#
# Each of these words also looks for the programs that its target uses; without a word only .venv is
# made. bench adds to it what volflow is measured beside, docs what builds the site.
# Environment:
#     PYTHON          the interpreter to use; otherwise the first fit one of python3.13, 3.12, 3.11, python3
#     VOLFLOW_NO_APT  when not empty, no Debian package is installed

set -eu
cd "$(dirname "$0")/.."

purpose=${1:-}
venv=.venv
stamp=$venv/volflow-stamp
python=

say() { printf 'volflow: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# -- Debian packages ---------------------------------------------------------------------

may_install() {
    [ -z "${VOLFLOW_NO_APT:-}" ] && [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] \
        && command -v apt-get >/dev/null 2>&1
}

# Debian starts a service as it installs it; ours are started by the demo and the tests, on
# ports of their own. policy-rc.d forbids that. One that is there already is left alone.
policy=/usr/sbin/policy-rc.d
policy_mark='# made by volflow tools/bootstrap.sh, removed when it ends'
policy_draft=

forbid_services() {
    allow_services # what a killed run left
    policy_draft=$(mktemp /usr/sbin/policy-rc.d.XXXXXX) || return 0
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy_draft"
    chmod 755 "$policy_draft"
    ln "$policy_draft" "$policy" 2>/dev/null || : # never over another one
    rm -f "$policy_draft"
}

allow_services() {
    [ -z "$policy_draft" ] || rm -f "$policy_draft"
    if grep -qsxF "$policy_mark" "$policy"; then rm -f "$policy"; fi
}

# install PACKAGE...: true when all of them are installed afterwards. The lock is not
# inherited: a service that starts nevertheless would hold it for ever.
install() {
    say "installing Debian packages: $*"
    trap allow_services EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_services
    log=$(mktemp)
    done_=1
    for attempt in 1 2; do
        if DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null 9<&-; then
            done_=0
            break
        fi
        [ $attempt = 1 ] || break
        # The lists are empty or old.
        apt-get update -qq -o DPkg::Lock::Timeout=300 >"$log" 2>&1 </dev/null 9<&- || break
    done
    if [ $done_ != 0 ]; then
        tail -n 5 "$log" >&2
        say "apt-get could not install them"
    fi
    rm -f "$log"
    allow_services
    trap - EXIT INT TERM
    return $done_
}

find_program() { # find_program NAME [DIRECTORY...]
    name=$1
    shift
    command -v "$name" >/dev/null 2>&1 && return 0
    for directory in /usr/sbin /sbin /usr/local/sbin "$@"; do
        [ -x "$directory/$name" ] && return 0
    done
    return 1
}

has_tgt() { find_program tgtd && find_program tgtadm; }
has_libiscsi() { find_program iscsi-ls; }
has_qemu_utils() { find_program qemu-img; }
has_qemu_iscsi() {
    for module in /usr/lib/*/qemu/block-iscsi.so /usr/lib*/qemu/block-iscsi.so; do
        [ -e "$module" ] && return 0
    done
    return 1
}
has_postgresql() {
    for server in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$server" ] && return 0
    done
    find_program initdb /usr/pgsql/bin /usr/local/pgsql/bin
}
has_mariadb() { find_program mariadbd && [ -e /usr/share/mysql/mysql_system_tables.sql ]; }
has_redis() { find_program redis-server; }
has_etcd() { find_program etcd; }
has_iproute() { find_program ip; }
has_faketime() {
    for library in /usr/lib/*/faketime/libfaketimeMT.so.1; do
        [ -e "$library" ] && return 0
    done
    return 1
}
has_chromium() { find_program chromium && find_program chromedriver; }
has_zookeeper() { find_program java && [ -e /usr/share/java/zookeeper.jar ]; }

lose() { # lose WHAT IN-DEMO IN-TEST
    if [ "$purpose" = demo ]; then
        [ -z "$2" ] || say "no $1: $2"
    elif [ -n "${CI:-}" ] && [ "$CI" != false ] && [ "$CI" != 0 ]; then
        say "no $1: $3 fail, since CI is set"
    else
        say "no $1: $3 are skipped"
    fi
}

programs() {
    wanted=
    has_tgt || wanted="$wanted tgt"
    has_libiscsi || wanted="$wanted libiscsi-bin"
    has_qemu_utils || wanted="$wanted qemu-utils"
    has_qemu_iscsi || wanted="$wanted qemu-block-extra"
    if [ "$purpose" = test ]; then
        has_postgresql || wanted="$wanted postgresql"
        has_mariadb || wanted="$wanted mariadb-server-core"
        has_redis || wanted="$wanted redis-server"
        has_etcd || wanted="$wanted etcd-server"
        has_zookeeper || wanted="$wanted libzookeeper-java default-jre-headless"
        has_iproute || wanted="$wanted iproute2"
        has_faketime || wanted="$wanted faketime"
        has_chromium || wanted="$wanted chromium chromium-driver"
    fi
    # shellcheck disable=SC2086 # package names
    if [ -n "$wanted" ] && may_install; then install $wanted || :; fi

    has_tgt || lose "tgtd (Debian: tgt)" "the demo uses the local driver" "the tests with a real iSCSI target"
    has_libiscsi || lose "iscsi-ls (Debian: libiscsi-bin)" "the demo cannot show a login to its target" "the tests that log in to a target"
    has_qemu_utils || lose "qemu-img (Debian: qemu-utils)" "the demo cannot read its volume through the connection" "the tests that read and write a volume"
    has_qemu_iscsi || lose "iSCSI for qemu-img (Debian: qemu-block-extra)" "the demo cannot read its volume through the connection" "the tests that read and write a volume"
    has_postgresql || lose "PostgreSQL server (Debian: postgresql)" "" "the tests on PostgreSQL"
    has_mariadb || lose "MariaDB server (Debian: mariadb-server-core)" "" "the tests on MariaDB"
    has_redis || lose "Redis server (Debian: redis-server)" "" "the tests on Redis"
    has_etcd || lose "etcd (Debian: etcd-server)" "" "the tests on etcd"
    has_zookeeper || lose "ZooKeeper (Debian: libzookeeper-java, default-jre-headless)" "" "the tests on ZooKeeper"
    has_iproute || lose "ip (Debian: iproute2)" "" "the chaos tests with hosts that are cut off"
    has_faketime || lose "libfaketime (Debian: faketime)" "" "the chaos tests with clocks that jump"
    has_chromium || lose "Chromium (Debian: chromium, chromium-driver)" "" "the tests with a browser"
}

lab_programs() {
    wanted=
    find_program qemu-system-x86_64 || wanted="$wanted qemu-system-x86"
    find_program debootstrap || wanted="$wanted debootstrap"
    find_program mke2fs || wanted="$wanted e2fsprogs"
    # shellcheck disable=SC2086 # package names
    if [ -n "$wanted" ] && may_install; then install $wanted || :; fi
}

bench_programs() {
    if ! has_postgresql && may_install; then install postgresql || :; fi
    has_postgresql || lose "PostgreSQL server (Debian: postgresql)" "" "the measurements on PostgreSQL"
}

docs_programs() {
    find_program dot && return
    if may_install; then install graphviz || :; fi
    find_program dot || die "the site's pictures need dot (Debian: graphviz)"
}

# -- the interpreter ---------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
makes_venvs() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

choose_python() {
    bare= # new enough, but without venv
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.13 python3.12 python3.11 python3; fi
    for candidate in "$@"; do
        # A candidate may be a shim that is on the PATH and runs nothing.
        is_new_enough "$candidate" || continue
        if makes_venvs "$candidate"; then
            python=$candidate
            return
        fi
        bare=${bare:-$candidate}
    done
    if [ -n "$bare" ]; then
        version=$(version_of "$bare")
        if may_install && { install "python$version-venv" || install python3-venv; } && makes_venvs "$bare"; then
            python=$bare
            return
        fi
        die "$bare has no venv and ensurepip (Debian: python$version-venv); install them, or name another interpreter with PYTHON="
    fi
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is no Python 3.11 or newer"
    die "no Python 3.11 or newer found (python3.13, python3.12, python3.11, python3); install one, or name it with PYTHON="
}

# -- .venv -------------------------------------------------------------------------------

# The stamp's first line says where and of what .venv was made: a copy of the tree, or another
# interpreter, needs a new one. The rest says what is installed in it: a change there is
# installed over it, so that what uses .venv meanwhile goes on.
extras=postgresql,mysql,test,lint,types
made_of() { printf '%s %s\n' "$("$1" -c 'import sys; print(sys.version.split()[0])')" "$(pwd -P)"; }
installed() {
    printf '%s\n' "$extras"
    cksum setup.cfg pyproject.toml
}

venv_is_usable() {
    [ -x $venv/bin/python ] && is_new_enough $venv/bin/python \
        && $venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    [ ! -e $stamp ] || [ "$(head -n 1 $stamp)" = "$(made_of $venv/bin/python)" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version_of $venv/bin/python)" = "$(version_of "$PYTHON" 2>/dev/null)" ]
}

is_current() {
    [ -e $stamp ] && [ "$(cat $stamp)" = "$(made_of $venv/bin/python; installed)" ]
}

make_venv() {
    if venv_is_usable; then
        if is_current; then return; fi
    else
        choose_python
        say "making .venv with Python $(version_of "$python")"
        rm -rf $venv
        "$python" -m venv $venv || { rm -rf $venv; die "$python -m venv failed"; }
    fi
    say "installing what setup.cfg names into .venv (a minute or two the first time)"
    rm -f $stamp.new
    $venv/bin/python -m pip install -qq --disable-pip-version-check --no-input \
        --no-warn-script-location --editable ".[$extras]" || die "pip could not install it; nothing is lost, run this again"
    { made_of $venv/bin/python; installed; } >$stamp.new
    mv $stamp.new $stamp
}

# What one target alone wants has a stamp of its own; it needs nothing in another version than ours.
add_extra() {
    extra_stamp=$venv/volflow-$1-stamp
    wanted=$(made_of $venv/bin/python; cksum setup.cfg)
    [ ! -e $extra_stamp ] || [ "$(cat $extra_stamp)" != "$wanted" ] || return 0
    say "installing what make $1 uses into .venv (a minute the first time)"
    if $venv/bin/python -m pip install -qq --disable-pip-version-check --no-input \
        --no-warn-script-location --editable ".[$1]"; then
        printf '%s\n' "$wanted" >$extra_stamp
    else
        lose "packages of the extra '$1'" "" "what needs them"
    fi
}

# pip warns about a cache that it cannot write.
if ! { mkdir -p "${PIP_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pip}" \
    && [ -w "${PIP_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pip}" ]; } 2>/dev/null; then
    PIP_NO_CACHE_DIR=1
    export PIP_NO_CACHE_DIR
fi

# Two runs in one tree wait for each other, where flock is at hand.
exec 9<setup.cfg
if command -v flock >/dev/null 2>&1; then flock 9; fi

case $purpose in
    demo | test) programs ;;
    lab) lab_programs ;;
    bench) bench_programs ;;
    docs) docs_programs ;;
    '') ;;
    *) die "unknown purpose: $purpose" ;;
esac
make_venv
case $purpose in bench | docs) add_extra $purpose ;; esac
