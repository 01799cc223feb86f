"""A running cluster for the client suites, and small helpers around it.

The suites speak to three brokers started by `ottla up`, with unchanged clients. OTTLA_BIN names the folder of the binary and
KAFKA_TOOLS the folder with the jars of Apache Kafka's tools; `cargo xtask verify` sets both.
"""

import os
import pathlib
import signal
import socket
import subprocess
import time
import uuid

import pytest

UP_SECONDS_MAX = 60
PORTS_APART = (0, 10_000, 20_000)  # clients, control API, HTTP: as `ottla up` lays them out
BROKERS = 3


def required(name):
    value = os.environ.get(name)
    if not value:
        pytest.exit(f"{name} is not set; run these suites with: cargo xtask verify --only clients", returncode=2)
    return value


def free_base_port():
    """A port P such that P, P+1, P+2 and their companions are free on loopback."""
    for base in range(21_000, 32_000, 7):
        sockets = []
        try:
            for apart in PORTS_APART:
                for i in range(BROKERS):
                    s = socket.socket()
                    sockets.append(s)
                    s.bind(("127.0.0.1", base + apart + i))
            return base
        except OSError:
            continue
        finally:
            for s in sockets:
                s.close()
    raise RuntimeError("no free ports")


class Cluster:
    """`ottla up` as a child process, on a data folder of its own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.port = free_base_port()
        self.bootstrap = ",".join(f"127.0.0.1:{self.port + i}" for i in range(BROKERS))
        self.log_path = self.folder / "up.log"
        self.data = self.folder / "data"
        self.process = None

    def start(self):
        log = open(self.log_path, "ab")
        command = [pathlib.Path(required("OTTLA_BIN")) / "ottla", "up", "--port", str(self.port), "--data", str(self.data)]
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + UP_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"`up` ended with {self.process.returncode}:\n{self.log_path.read_text()}")
            if self.brokers_seen() == BROKERS:
                return self
            time.sleep(0.1)
        raise RuntimeError(f"no {BROKERS} brokers within {UP_SECONDS_MAX} s:\n{self.log_path.read_text()}")

    def brokers_seen(self):
        probe = subprocess.run(
            ["kcat", "-b", self.bootstrap, "-L", "-m", "2"], capture_output=True, text=True, check=False
        )
        return probe.stdout.count("  broker ") if probe.returncode == 0 else 0

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                assert self.process.wait(30) == 0, self.log_path.read_text()
            finally:
                if self.process.poll() is None:
                    self.process.kill()

    def ottla(self, *arguments):
        """Runs `ottla` against this cluster; returns its standard output."""
        binary = pathlib.Path(required("OTTLA_BIN")) / "ottla"
        return run([binary, *arguments, "--bootstrap", self.bootstrap])

    def topic_files(self, topic, partition, suffix):
        """The files of one partition, on whichever broker has them, in offset order."""
        found = sorted(self.data.glob(f"brokers/*/**/{topic}-{partition}/*{suffix}"))
        assert found, f"no {suffix} file of {topic}-{partition} below {self.data}"
        return found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    running = Cluster(tmp_path_factory.mktemp("ottla")).start()
    yield running
    running.stop()


@pytest.fixture
def topic(cluster):
    """The name of a new topic with three partitions."""
    return new_topic(cluster, partitions=3)


def new_topic(cluster, partitions, config=None):
    from confluent_kafka.admin import AdminClient, NewTopic

    name = f"t-{uuid.uuid4().hex[:10]}"
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config or {})
    admin.create_topics([new])[name].result(20)
    return name


def until(holds, what, seconds=20):
    """Waits for a fact that another broker, as in Kafka, may learn a moment after the one that was asked to change it."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def run(command, given=None, seconds=60, check=True):
    """Runs a command; returns its standard output. A failure shows what it printed."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds, check=False)
    if check:
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def java(main_class, *arguments, given=None, seconds=90, check=True):
    """Runs one of Apache Kafka's tools by its main class."""
    jars = required("KAFKA_TOOLS")
    options = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Dlog4j2.level=WARN"]
    return run(["java", *options, "-cp", f"{jars}/*", main_class, *arguments], given, seconds, check)
