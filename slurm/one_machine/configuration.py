"""The directory of a SLURM on one machine: configuration, keys, and an empty database."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from string import Template

from slurm.one_machine.daemons import end_of, environment, mariadb_options, user
from src.utils.errors import UserError

# The longest path of a unix socket, and the longest one in the directory: a batch job's, in its node's folder.
SOCKET_LIMIT = 107
LONGEST_SOCKET = "/spool/n1/n1_12345678.4294967291"
PORTS = 4

TITLE = "# Written by `python -m slurm.one_machine up`."
SLURM_CONF = Template(
    f"""{TITLE}
ClusterName=one_machine
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmUser=$user
SlurmdUser=$user

# A requeued job waits for its credential to expire. It must outlive KillWait.
AuthType=auth/munge
AuthInfo=socket=$directory/run/munge.sock,cred_expire=10
CredType=cred/munge
KillWait=3

# Neither cgroups nor PMIx are available everywhere.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none

# The nodes have the resources that are written here, whatever the machine has.
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
MaxArraySize=1001
MaxJobCount=10000
MinJobAge=300

# Without preempt_send_user_signal, a preempted job does not get its --signal, and has no time to save.
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1

StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/spool/%n
SlurmctldPidFile=$directory/run/slurmctld.own.pid
SlurmdPidFile=$directory/run/%n.own.pid
MailProg=/bin/true
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$accounting_port
AccountingStoragePass=$directory/run/munge.sock
AccountingStorageTRES=gres/gpu

NodeName=DEFAULT CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1
NodeName=DEFAULT Gres=gpu:2 RealMemory=16000
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$n1_port-$n2_port]
# A sweep may ask for days, as on a cluster.
PartitionName=debug Nodes=ALL Default=YES DefaultTime=60 PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
)
SLURMDBD_CONF = Template(
    """AuthType=auth/munge
AuthInfo=socket=$directory/run/munge.sock
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$accounting_port
SlurmUser=$user
PidFile=$directory/run/slurmdbd.own.pid
StorageType=accounting_storage/mysql
# With this host, the library uses the socket in MYSQL_UNIX_PORT, and MariaDB authenticates by user id.
StorageHost=localhost
StorageUser=$user
StorageLoc=slurm
"""
)


def check_directory(directory: Path) -> None:
    """Raise a UserError if the directory cannot contain sockets, or has other content, which `down` would remove."""
    longest = SOCKET_LIMIT - len(LONGEST_SOCKET)
    if len(os.fsencode(directory)) > longest:
        raise UserError(f"{directory} is too long for unix sockets: choose a --directory of at most {longest} bytes")
    if not re.fullmatch(r"[\w/.+-]+", str(directory), re.ASCII):
        raise UserError(f"{directory}: slurm.conf allows only letters, digits and /._+-; choose another --directory")
    conf = directory / "etc/slurm.conf"
    is_ours = conf.exists() and conf.read_text().startswith(TITLE)
    if not is_ours and directory.exists() and {entry.name for entry in directory.iterdir()} - {"lock"}:
        raise UserError(f"{directory} contains something else: choose another --directory")


def configure(directory: Path, port: int, cpus: int) -> None:
    """Write configuration and keys, and create an empty database unless there is one; the state of jobs stays.

    Args:
        port: the first of PORTS ports.
        cpus: of each node.
    """
    values = {
        "directory": directory,
        "host": socket.gethostname().split(".")[0],
        "user": user(),
        "cpus": cpus,
        "controller_port": port,
        "accounting_port": port + 1,
        "n1_port": port + 2,
        "n2_port": port + 3,
    }
    for folder in ("etc", "run", "log", "state", "spool/n1", "spool/n2", "dev"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    etc = directory / "etc"
    (etc / "slurm.conf").write_text(SLURM_CONF.substitute(values))
    (etc / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    (etc / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={directory}/dev/gpu[0-1]\n")
    for name, content in (("slurmdbd.conf", SLURMDBD_CONF.substitute(values)), ("munge.key", secrets.token_hex(64))):
        (etc / name).touch(mode=0o600)
        (etc / name).write_text(content)
    for gpu in ("gpu0", "gpu1"):
        with contextlib.suppress(FileExistsError):
            (directory / "dev" / gpu).symlink_to("/dev/null")
    if not (directory / "database").exists():
        _install_database(directory)


def _install_database(directory: Path) -> None:
    log, new = directory / "log/mariadb-install-db.log", directory / "database.new"
    shutil.rmtree(new, ignore_errors=True)  # left by an interrupted installation
    command = ["mariadb-install-db", *mariadb_options(new), "--skip-test-db", "--skip-name-resolve"]
    with log.open("wb") as output:
        code = subprocess.run(
            [*command, f"--auth-root-socket-user={user()}"],
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ).returncode
    if code != 0:
        raise UserError(f"mariadb-install-db ended with exit code {code}; {end_of(log)}")
    new.rename(directory / "database")


def configured_port(directory: Path) -> int:
    """Return the first port in the directory's configuration."""
    (port,) = re.findall(r"^SlurmctldPort=(\d+)", (directory / "etc/slurm.conf").read_text(), re.MULTILINE)
    return int(port)
