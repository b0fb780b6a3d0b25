"""A Slurm cluster of one node, this machine, from Debian's packages (slurmctld, slurmd, munge), in a folder of its own.

    python tests/cluster/one_node.py COMMAND ...      runs COMMAND with the cluster on its PATH, then stops it

Needs root. No systemd, no cgroups, no accounting; partitions `main` (the default) and `other`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel")
START_S = 40.0

CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=5
MinJobAge=300
SlurmdParameters=config_overrides
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP OverSubscribe=NO
PartitionName=other Nodes={host} MaxTime=60 State=UP
"""


def why_not() -> str | None:
    """Return why no cluster can be started here; None where one can."""
    lacking = [name for name in PROGRAMS if _program(name) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed (Debian packages slurmctld, slurmd, slurm-client, munge)"
    return None if os.geteuid() == 0 else "needs root"


@contextmanager
def one_node_slurm(cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start the cluster; yield the environment in which its commands find it; stop it.

    Raises:
        RuntimeError: it does not come up; the message ends with its log.
    """
    folder = Path(tempfile.mkdtemp(prefix="one-slurm-"))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    controller, daemon = _free_ports(2)
    (folder / "slurm.conf").write_text(
        CONF.format(host=host, folder=folder, controller=controller, daemon=daemon, cpus=cpus)
    )
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    folder.chmod(0o755)
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        munge = [
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munge.pid",
        ]
        munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
        for command in (("munged", *munge), ("slurmctld", "-D"), ("slurmd", "-D", "-N", host)):
            words = [str(_program(command[0])), *command[1:]]
            processes.append(
                subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(1.0)
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", "--user=root"], env=environment, timeout=10, check=False, capture_output=True)
            time.sleep(1.0)
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    until = time.monotonic() + START_S
    seen = ""
    while time.monotonic() < until:
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False)
        seen = done.stdout + done.stderr
        if "idle" in done.stdout:
            return
        if "down" in done.stdout:
            host = socket.gethostname().split(".")[0]
            subprocess.run(
                ["scontrol", "update", f"nodename={host}", "state=resume"],
                env=environment,
                check=False,
                capture_output=True,
            )
        time.sleep(0.5)
    logs = [log.read_text(errors="replace")[-1500:] for log in sorted(folder.glob("*.log"))]
    raise RuntimeError(f"the one-node Slurm did not come up in {START_S:g} s: {seen}\n" + "\n".join(logs))


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    if reason := why_not():
        raise SystemExit(f"one_node: {reason}")
    with one_node_slurm() as environment:
        code = subprocess.run(sys.argv[1:] or ["sinfo"], env=environment, check=False).returncode
    raise SystemExit(code)
