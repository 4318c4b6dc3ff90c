# shellcheck shell=sh
# What `make install` does beside putting files into place: it makes the account of the service, by whichever tool the
# system has, and says what to do next. Read by the Makefile.

account_home=/var/lib/uidsync

# make_account SYSUSERS: by that file where systemd makes accounts; its path is one from the root.
make_account() {
    if has_account; then
        echo 'the account uidsync is there'
        return 0
    fi
    for tool in systemd-sysusers useradd adduser; do
        command -v $tool >/dev/null || continue
        echo "making the account uidsync with $tool"
        make_by $tool "$1" && has_account && return 0
    done
    echo 'cannot make the account uidsync: systemd-sysusers, useradd and adduser are missing here, or failed.' \
        'Create a system account and a group of that name, then run this again.' >&2
    return 1
}

has_account() {
    id uidsync >/dev/null 2>&1
}

make_by() {
    nologin=$(command -v nologin || echo /bin/false)
    case $1 in
        systemd-sysusers) systemd-sysusers "$2" ;;
        useradd) useradd --system --user-group --home-dir $account_home --no-create-home --shell "$nologin" uidsync ;;
        adduser)
            if adduser --help 2>&1 | grep -qi busybox; then
                addgroup -S uidsync 2>/dev/null || : # it may be there
                adduser -S -D -H -h $account_home -s "$nologin" -G uidsync uidsync
            else
                adduser --quiet --system --group --home $account_home --no-create-home --shell "$nologin" uidsync
            fi
            ;;
    esac
}

# tell_next_steps VERSION
tell_next_steps() {
    if [ -d /run/systemd/system ]; then
        start='systemctl enable --now uidsync.timer'
    else
        start='there is no systemd here: let cron run `uidsync sync` every minute, as the account uidsync'
    fi
    echo "uidsync $1 is installed. Nothing was started. The next three steps:"
    echo '  1. Set it up: uidsync init    (or fill in /etc/uidsync/uidsync.toml: see docs/install.md)'
    echo '  2. Try it:   uidsync check; uidsync sync --dry-run'
    echo "  3. Start it: $start"
}
