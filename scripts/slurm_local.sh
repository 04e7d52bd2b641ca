#!/usr/bin/env bash
# A real two-node Slurm on this machine, to try a sweep or to test one without a cluster.
#
#   scripts/slurm_local.sh install                 Debian's packages slurm-wlm and munge
#   eval "$(scripts/slurm_local.sh start)"         prints `export SLURM_CONF=...` for Slurm's commands
#   scripts/slurm_local.sh status                  nodes and jobs; exit code 1 if it is not running
#   scripts/slurm_local.sh kill-node n1            kill -9 of a node's daemon, as if it had failed
#   scripts/slurm_local.sh revive-node n1
#   scripts/slurm_local.sh stop                    ends jobs and daemons and removes the folder
#
# Everything lies in $SLURM_LOCAL_DIR (default /tmp/sde-edit-slurm) and listens on 127.0.0.1, three
# ports from $SLURM_LOCAL_PORT (default 17000) on. Needs root, as its nodes run jobs for any user.
set -euo pipefail

DIR=$(realpath -m "${SLURM_LOCAL_DIR:-/tmp/sde-edit-slurm}")
PORT=${SLURM_LOCAL_PORT:-17000}
NODES=(n1 n2)
export SLURM_CONF=$DIR/slurm.conf
PATH=$PATH:/usr/sbin

say() { echo "slurm_local: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

require_root() { [ "$(id -u)" = 0 ] || fail "only root can do this: sudo $0 $1"; }

require_packages() {
    local tool
    for tool in slurmctld slurmd munged sbatch; do
        command -v "$tool" > /dev/null || fail "$tool is missing: $0 install"
    done
}

require_free() {
    ! is_ours || has_no_daemon || fail "$DIR is there, but does not answer: $0 stop"
    ! is_ours || { say "removing $DIR: its daemons were killed" && rm -rf "$DIR"; }
    [ ! -e "$DIR" ] || fail "$DIR is taken by something else: set SLURM_LOCAL_DIR"
    local port
    for port in "$PORT" $((PORT + 1)) $((PORT + 2)); do
        if (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            fail "port $port is taken: SLURM_LOCAL_PORT=17100 $0 start"
        fi
    done
}

require_node() {
    is_ours || fail "not running: $0 start"
    local node
    for node in "${NODES[@]}"; do [ "$node" = "$1" ] && return; done
    fail "there is no node '$1', only ${NODES[*]}"
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends slurm-wlm munge >&2
}

# slurmd starts one whether or not something uses it, and cgroup/v2 fails in a container without
# systemd. cgroup/v1 does nothing until it is used; only newer Slurms know `disabled`.
cgroup_plugin() {
    local version
    version=$(slurmd -V | sed 's/^[^0-9]*//')
    if [ "${version%%.*}" -ge 24 ]; then echo disabled; else echo cgroup/v1; fi
}

write_conf() {
    local cores memory host
    cores=$(($(nproc) / ${#NODES[@]}))
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.45)}' /proc/meminfo)
    host=$(hostname -s)
    echo "CgroupPlugin=$(cgroup_plugin)" > "$DIR/cgroup.conf"
    cat > "$SLURM_CONF" << CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
AuthType=auth/munge
# A requeued job is held (Reason=BeginTime) until its old credential has expired, 120 s by default;
# 5 s is the least that Slurm takes.
AuthInfo=socket=$DIR/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/none
MpiDefault=none
MailProg=/bin/true
JobRequeue=1
ReturnToService=2
# A node that is gone is noticed, and its jobs are requeued, in seconds instead of minutes.
SlurmdTimeout=10
MessageTimeout=10
BatchStartTimeout=10
KillWait=5
MinJobAge=60
# Look for jobs to start every other second.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool-%n
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd-%n.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/slurmd-%n.log
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((PORT + 1))-$((PORT + 2))] CPUs=$((cores > 0 ? cores : 1)) RealMemory=$memory
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

# Its own key and socket: the machine's munge, if there is one, stays as it is.
start_munge() {
    local munge=$DIR/munge
    mkdir "$munge" &&
        (umask 077 && head -c 1024 /dev/urandom > "$munge/key") &&
        chown -R munge: "$munge" || return
    runuser -u munge -- munged --key-file "$munge/key" --socket "$munge/socket" \
        --pid-file "$munge/pid" --log-file "$munge/log" --seed-file "$munge/seed"
}

# `set -e` does not hold here, where start asks whether it worked.
start_daemons() {
    start_munge && slurmctld || return
    local node
    for node in "${NODES[@]}"; do slurmd -N "$node" || return; done
}

is_ours() { grep -qsx "StateSaveLocation=$DIR/state" "$SLURM_CONF"; }

is_running() { is_ours && sinfo > /dev/null 2>&1; }

idle_nodes() { sinfo --noheader --Node --states=idle --format=%N 2> /dev/null | sort -u | wc -l; }

are_idle() { [ "$(idle_nodes)" = "${#NODES[@]}" ]; }

# wait_until SECONDS COMMAND: whether it came true in that time.
wait_until() {
    local end=$((SECONDS + $1))
    until "$2"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.5
    done
}

give_up() {
    tail -n 5 "$DIR"/*.log "$DIR/munge/log" >&2 2> /dev/null || true
    stop
    fail "$1; above are the last lines of the logs"
}

start() {
    require_root start
    require_packages
    if ! is_running; then
        require_free
        mkdir -p "$DIR/state"
        write_conf
        start_daemons >&2 || give_up "a daemon does not start"
        wait_until 60 are_idle || give_up "the nodes do not come up"
    fi
    say "running, in $DIR"
    printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
}

# A process id in a file may long be another process's.
pid_of() {
    local pid
    pid=$(cat "$2" 2> /dev/null) && [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = "$1" ] && echo "$pid"
}

# As after a power cut: the folder is there, and none of its processes.
has_no_daemon() {
    local node
    for node in "${NODES[@]}"; do ! pid_of slurmd "$DIR/slurmd-$node.pid" > /dev/null || return; done
    ! pid_of slurmctld "$DIR/slurmctld.pid" > /dev/null && ! pid_of munged "$DIR/munge/pid" > /dev/null
}

# end_by SIGNAL NAME PIDFILE
end_by() {
    local pid
    pid=$(pid_of "$2" "$3") || return 0
    kill "-$1" "$pid"
    for _ in $(seq 50); do
        kill -0 "$pid" 2> /dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null || true
}

# A step has a socket there for as long as it lives.
has_no_steps() { [ -z "$(find "$DIR" -path '*/spool-*' -type s)" ]; }

are_jobs_over() { [ -z "$(squeue --noheader)" ] && has_no_steps; }

# Through the daemons, as the steps do not end with them: a node that was killed comes back for it.
end_jobs() {
    is_running || return 0
    local node
    for node in "${NODES[@]}"; do revive_node "$node"; done
    squeue --noheader --format=%A | xargs --no-run-if-empty scancel || true
    wait_until 20 are_jobs_over || say "processes of a job are left: ps -C slurmstepd"
}

stop() {
    require_root stop
    [ -d "$DIR" ] || return 0
    is_ours || fail "$DIR was not made by this script, so it is not removed"
    end_jobs
    local node
    for node in "${NODES[@]}"; do end_by TERM slurmd "$DIR/slurmd-$node.pid"; done
    end_by TERM slurmctld "$DIR/slurmctld.pid"
    end_by TERM munged "$DIR/munge/pid"
    rm -rf "$DIR"
}

status() {
    is_running || fail "not running"
    sinfo --Node --long
    squeue
}

# Only the daemon dies, and Slurm requeues its jobs 20 to 35 s later. Their processes live on
# beside the requeued copies until the node is revived; then Slurm ends them.
kill_node() {
    require_node "$1"
    pid_of slurmd "$DIR/slurmd-$1.pid" > /dev/null || fail "$1 is down already"
    end_by KILL slurmd "$DIR/slurmd-$1.pid"
}

revive_node() {
    require_node "$1"
    ! pid_of slurmd "$DIR/slurmd-$1.pid" > /dev/null || return 0
    slurmd -N "$1"
}

case "$#:${1:-}" in
    1:install) require_root install && install_packages ;;
    1:start | 1:stop | 1:status) "$1" ;;
    2:kill-node) kill_node "$2" ;;
    2:revive-node) revive_node "$2" ;;
    *) usage ;;
esac
