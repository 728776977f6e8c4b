#!/usr/bin/env python3
"""A real two-node SLURM on one machine, for tests: munge, slurmctld, two slurmd, accounting, fake GPUs.

python3 tests/slurm/local_cluster.py up FOLDER      start; the state, keys, sockets and logs all live in FOLDER
python3 tests/slurm/local_cluster.py down FOLDER    stop everything that was started there

Node n1 has the feature `small_gpu`, n2 `large_gpu`.

Needs Debian's slurm-wlm, slurmdbd, munge and mariadb-server, and root: slurmd starts jobs as their owners, and device
nodes for the fake GPUs can only be made by root. No systemd. Nothing outside FOLDER is touched but the links
/etc/slurm/{slurm,gres,cgroup,slurmdbd}.conf, which jobs need (the executor strips SLURM_CONF inside jobs); `down`
removes them. A machine that has an /etc/slurm/slurm.conf of its own is refused.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

NODES = {"n1": "small_gpu", "n2": "large_gpu"}  # and their features
GPUS_PER_NODE = 2
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "sacct", "sinfo")
LINKED = ("slurm.conf", "gres.conf", "cgroup.conf", "slurmdbd.conf")
PORTS = {"slurmctld": 16817, "slurmd": 16818, "slurmdbd": 16819, "n1": 17001, "n2": 17002}


class Cluster:
    """A SLURM in a folder: `up`, `down`, and single daemons for tests of faults."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).resolve()
        self.conf = self.folder / "slurm.conf"
        # slurmdbd offers no other way to set the socket of the database
        socket = str(self.folder / "run" / "mysql.sock")
        self.environment = dict(os.environ, SLURM_CONF=str(self.conf), MYSQL_UNIX_PORT=socket)

    def up(self, memory_mb: int = 8000, cpus: int = 4, accounting: bool = True) -> None:
        """Start all daemons and wait until both nodes are idle; on any failure stop what was started."""
        if reason := why_not():
            sys.exit(f"error: {reason}")
        for name in ("ctld", "log", "run", "gpu", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._make_gpus()
        self._write_configuration(memory_mb, cpus, accounting)
        try:
            for name in LINKED:
                link = Path("/etc/slurm") / name
                link.parent.mkdir(exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(self.folder / name)
            self._start_munge()
            if accounting:
                self._start_accounting()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self._wait(lambda: self.call("sinfo", "-h", "-N", "-o", "%N %T").count("idle") >= len(NODES) * 2,
                       "both nodes idle")  # fmt: skip
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Stop every daemon of this folder, the controller first so that nothing is scheduled any more."""
        for name in ("slurmctld", *(f"slurmd-{node}" for node in NODES), "slurmdbd", "mariadb", "munged"):
            self.stop(name)
        # Steps outlive their slurmd by design; the cluster's own are identified by their spool folder.
        for process in _processes_naming("slurmstepd", str(self.folder)):
            _signal(process, signal.SIGKILL)
        for name in LINKED:
            link = Path("/etc/slurm") / name
            if link.is_symlink() and Path(os.readlink(link)).parent == self.folder:
                link.unlink()

    def start_controller(self) -> None:
        """Start slurmctld (again)."""
        self._run("slurmctld", "-f", str(self.conf))
        self._wait(lambda: "UP" in self.call("scontrol", "ping"), "slurmctld answers")

    def start_node(self, node: str) -> None:
        """Start one node's slurmd (again)."""
        self._run("slurmd", "-f", str(self.conf), "-N", node)

    def stop(self, daemon: str, with_signal: int = signal.SIGTERM) -> None:
        """Stop a daemon by its pid file: slurmctld, slurmd-n1, slurmd-n2, slurmdbd, mariadb, munged."""
        pidfile = self.folder / "run" / f"{daemon}.pid"
        if not pidfile.is_file() or not pidfile.read_text().strip():
            return
        pid = int(pidfile.read_text())
        _signal(pid, with_signal)
        for _ in range(200):
            if not _alive(pid):
                break
            time.sleep(0.05)
        else:
            _signal(pid, signal.SIGKILL)
        pidfile.unlink(missing_ok=True)

    def call(self, *command: str, timeout: float = 20) -> str:
        """Output of a SLURM command on this cluster; empty where it fails."""
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(
                f"Expected {command[0]} to start, got: {done.stderr.strip() or done.stdout.strip()}"
            )

    def _wait(self, ready, what: str, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if ready():
                return
            time.sleep(0.1)
        log = self.folder / "log" / "slurmctld.log"
        tail = "\n".join(log.read_text().splitlines()[-5:]) if log.exists() else "(none yet)"
        raise RuntimeError(
            f"Expected '{what}' within {seconds:.0f} s, it is not so. slurmctld's log ends:\n{tail}"
        )

    def _make_gpus(self) -> None:
        # Real character devices (1:3 is the null device), since SLURM checks them; names must end in a digit.
        for index in range(GPUS_PER_NODE * len(NODES)):
            device = self.folder / "gpu" / f"nvidia{index}"
            if not device.exists():
                os.mknod(device, 0o20666, os.makedev(1, 3))

    def _write_configuration(self, memory_mb: int, cpus: int, accounting: bool) -> None:
        host = os.uname().nodename.split(".")[0]
        b = self.folder
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={PORTS[node]} CPUs={cpus} "
            f"RealMemory={memory_mb} Gres=gpu:{GPUS_PER_NODE} Feature={feature} State=UNKNOWN"
            for node, feature in NODES.items()
        )
        storage = "AccountingStorageType=accounting_storage/none"
        if accounting:
            storage = f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={PORTS["slurmdbd"]}
AccountingStoragePass={b}/run/munge.sock
AccountingStorageTRES=gres/gpu"""
        self.conf.write_text(f"""ClusterName=mind
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={PORTS["slurmctld"]}
SlurmdPort={PORTS["slurmd"]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={b}/run/munge.sock
SlurmUser=root
SlurmdUser=root
StateSaveLocation={b}/ctld
SlurmdSpoolDir={b}/spool/%n
SlurmctldPidFile={b}/run/slurmctld.pid
SlurmdPidFile={b}/run/slurmd-%n.pid
SlurmctldLogFile={b}/log/slurmctld.log
SlurmdLogFile={b}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,defer
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
{storage}
MinJobAge=300
KillWait=3
WaitTime=0
InactiveLimit=0
SlurmctldTimeout=10
SlurmdTimeout=10
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
{nodes}
PartitionName=gpu Nodes={",".join(NODES)} DefMemPerCPU=500 DefaultTime=10 MaxTime=2-0 State=UP
PartitionName=cpu Nodes={",".join(NODES)} Default=YES DefMemPerCPU=500 DefaultTime=10 MaxTime=2-0 State=UP
""")
        (b / "gres.conf").write_text(
            "".join(
                f"NodeName={node} Name=gpu File={b}/gpu/nvidia[{i * GPUS_PER_NODE}-{(i + 1) * GPUS_PER_NODE - 1}]\n"
                for i, node in enumerate(NODES)
            )
        )
        (b / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        (b / "slurmdbd.conf").write_text(f"""AuthType=auth/munge
AuthInfo=socket={b}/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={PORTS["slurmdbd"]}
SlurmUser=root
LogFile={b}/log/slurmdbd.log
PidFile={b}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageLoc=slurm_acct_db
StorageUser=root
StorageHost=localhost
""")
        (b / "slurmdbd.conf").chmod(0o600)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        if not key.exists():
            key.write_bytes(os.urandom(128))
            key.chmod(0o400)
        run, log = self.folder / "run", self.folder / "log"
        # A key and a socket of its own: a munge that runs already is left alone.
        self._run("munged", "--force", f"--socket={run}/munge.sock", f"--key-file={key}",
                  f"--pid-file={run}/munged.pid", f"--log-file={log}/munged.log",
                  f"--seed-file={run}/munged.seed")  # fmt: skip

    def _start_accounting(self) -> None:
        data, run, log = self.folder / "mysql", self.folder / "run", self.folder / "log"
        if not (data / "mysql").is_dir():
            self._run("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}",
                      "--auth-root-authentication-method=normal", "--skip-test-db")  # fmt: skip
        socket = f"--socket={run}/mysql.sock"
        with open(log / "mariadb.log", "w") as output:
            subprocess.Popen(
                ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", socket,
                 f"--pid-file={run}/mariadb.pid", "--skip-networking", "--innodb-buffer-pool-size=64M",
                 "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900",
                 "--innodb-flush-log-at-trx-commit=0"],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._wait(
            lambda: self.call("mariadb-admin", "--no-defaults", socket, "ping") != "", "mariadb answers"
        )
        self._run("mariadb", "--no-defaults", socket, "-e", "create database if not exists slurm_acct_db")
        self.start_accounting_daemon()
        if "mind" not in self.call("sacctmgr", "-n", "show", "cluster", "format=cluster"):
            self.call("sacctmgr", "-i", "-Q", "add", "cluster", "mind")
            self.call("sacctmgr", "-i", "-Q", "add", "account", "lab")
            self.call("sacctmgr", "-i", "-Q", "add", "user", "root", "account=lab")

    def start_accounting_daemon(self) -> None:
        """Start slurmdbd (again)."""
        self._run("slurmdbd")
        self._wait(
            lambda: "normal" in self.call("sacctmgr", "-n", "show", "qos", "format=name"), "slurmdbd answers"
        )


def why_not() -> str:
    """One sentence where a SLURM cannot be brought up here; empty where it can."""
    if os.geteuid() != 0:
        return (
            "Expected root (slurmd starts jobs as their owners and fake GPUs are device nodes), "
            f"got user {os.geteuid()}."
        )
    missing = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    if missing:
        return f"Expected {', '.join(missing)}: apt-get install slurm-wlm slurmdbd munge mariadb-server."
    conf = Path("/etc/slurm/slurm.conf")
    if conf.exists() and not conf.is_symlink():
        return f"Expected a machine without a SLURM of its own, got {conf}."
    if conf.exists() and (running := _processes_naming("slurmctld", os.readlink(conf))):
        return f"Expected no other SLURM of this script, got one in {Path(os.readlink(conf)).parent} ({running})."
    return ""


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _processes_naming(program: str, text: str) -> list[int]:
    """Processes of a program that name a text in their command line or their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == program and (
                text.encode() in (entry / "environ").read_bytes()
                or text.encode() in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("up", "down"):
        sys.exit(__doc__)
    cluster = Cluster(sys.argv[2])
    if sys.argv[1] == "up":
        cluster.up()
        print(cluster.call("sinfo", "-N", "-o", "%N %P %T %G %c %m"), end="")
        print(f"export SLURM_CONF={cluster.conf}")
    else:
        cluster.down()
