# shellcheck shell=sh
# Halts runs while the program is replaced: a run that is under way must not load half of itself from another version.
# Read by the Makefile, and put into the maintainer scripts of the Debian package. What was running runs again after.

halted=/run/uidsync-timers # the timers that were running

halt_runs() {
    [ -d /run/systemd/system ] || return 0
    systemctl --plain --no-legend --state=active list-units 'uidsync*.timer' | cut -d ' ' -f 1 >>$halted
    xargs -r systemctl stop <$halted
    # Most runs take seconds. One that takes longer is asked to end, which it does in order.
    for _ in $(seq 60); do
        [ -n "$(list_runs)" ] || return 0
        sleep 1
    done
    list_runs | xargs -r systemctl stop
}

list_runs() {
    systemctl --plain --no-legend --state=activating list-units 'uidsync*.service' | cut -d ' ' -f 1
}

resume_runs() {
    [ -d /run/systemd/system ] || return 0
    systemctl daemon-reload
    systemctl try-restart 'uidsync*.service' # what runs all the time
    if [ -e $halted ]; then sort -u $halted | xargs -r systemctl start; fi
    rm -f $halted
}
