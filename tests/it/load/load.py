"""A client under faults: sends unique values and reads them all, by librdkafka, and writes down what happened.

Each operation is a line of the history that `ottla check` judges. It runs until its standard input is closed;
with --final it reads everything once, from the beginning, and ends.
"""

import argparse
import json
import logging
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

REPEATS = 5  # A value is written this often into its record, so that a record has some length.
UNREADABLE = 2**63  # What stands for a record that isn't one of ours.
DRAIN_SECONDS = 60
# A broker that is stopped or cut off answers nothing: clients must notice before the faults are over.
COMMON = {"socket.timeout.ms": 3000, "topic.metadata.refresh.interval.ms": 5000, "reconnect.backoff.max.ms": 500,
          "topic.metadata.refresh.fast.interval.ms": 100, "log_level": 2}


class History:
    """The lines, from several threads."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="ascii")
        self.lock = threading.Lock()

    def write(self, process, start, end, outcome, step, final=False):
        line = {"process": process, "start": start, "end": end, "outcome": outcome, "steps": [step]}
        if final:
            line["final"] = True
        with self.lock:
            self.file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self):
        with self.lock:
            self.file.close()


def payload(value):
    return b"%020d" % value * REPEATS


def value_of(record):
    try:
        value = int(record[:20])
    except (TypeError, ValueError):
        return UNREADABLE
    return value if record == payload(value) else UNREADABLE


class Renumberings(logging.Handler):
    """librdkafka (2.16.0) may send a partition's later batch to a new leader before it sends the one again that timed out
    at the old one. That is out of order, upon which it raises the producer's epoch and numbers anew what is under way,
    in all partitions: what a broker had by then is appended twice. It says so only in its log, in its order among the
    deliveries."""

    def __init__(self, sender):
        super().__init__()
        self.sender = sender

    def emit(self, record):
        if "bumped epoch" in record.getMessage():
            now = time.time_ns()
            self.sender.history.write(self.sender.process, now, now, "ok", "renumbered")


class Sender:
    """Sends to all partitions in turn. A producer that fails for good is replaced, as another process."""

    def __init__(self, options, history, stop):
        self.options, self.history, self.stop = options, history, stop
        self.value = options.first_value
        self.incarnation = 0
        self.open = {}  # value: (key, start)
        self.fatal = False
        self.errors = {}

    def make(self):
        self.process = f"rdkafka-send-{self.options.name}-{self.incarnation}"
        self.incarnation += 1
        self.fatal = False
        logger = logging.getLogger(self.process)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        logger.addHandler(Renumberings(self))
        return Producer({"bootstrap.servers": self.options.bootstrap, "enable.idempotence": True, "acks": "all",
                         "linger.ms": 2, "request.timeout.ms": 3000, "message.timeout.ms": 60_000,
                         "retry.backoff.ms": 50, "error_cb": self.on_error, **COMMON,
                         "debug": "eos", "log_level": 7}, logger=logger)

    def on_error(self, error):
        if error.code() == KafkaError._FATAL:
            self.fatal = True

    def delivered(self, value, error, message):
        key, start = self.open.pop(value)
        if error is None:
            # What a broker knows to have appended long ago is a success without an offset.
            offset = message.offset() if message.offset() is not None and message.offset() >= 0 else None
            self.history.write(self.process, start, time.time_ns(), "ok", {"send": [key, value, offset]})
            return
        # An earlier try may have been applied, whatever the last one was told.
        name = error.name()
        self.errors[name] = self.errors.get(name, 0) + 1
        self.history.write(self.process, start, time.time_ns(), "unknown", {"send": [key, value, None]})

    def send(self, producer, partition):
        value = self.value
        key = f"{self.options.topic}-{partition}"
        self.open[value] = (key, time.time_ns())
        try:
            producer.produce(self.options.topic, payload(value), partition=partition,
                             on_delivery=lambda error, message: self.delivered(value, error, message))
            self.value += 1
        except (BufferError, KafkaException) as refused:
            del self.open[value]  # Never sent: the value is used again.
            self.fatal |= isinstance(refused, KafkaException) and refused.args[0].fatal()
            producer.poll(0.05)

    def run(self):
        producer = self.make()
        interval, due, partition = 1 / self.options.rate, time.monotonic(), 0
        while not self.stop.is_set():
            if self.fatal:
                self.drain(producer)
                producer = self.make()
            self.send(producer, partition)
            partition = (partition + 1) % self.options.partitions
            # Faults hold up records, not their senders; but what is late isn't made up for.
            due = max(due + interval, time.monotonic() - 0.1)
            producer.poll(max(0, due - time.monotonic()))
        self.drain(producer)
        if self.errors:
            print(f"{self.process}: errors {self.errors}", file=sys.stderr)

    def drain(self, producer):
        producer.flush(DRAIN_SECONDS)
        for value, (key, start) in self.open.items():
            self.history.write(self.process, start, time.time_ns(), "unknown", {"send": [key, value, None]})
        self.open.clear()


def consumer(options):
    reader = Consumer({"bootstrap.servers": options.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                       "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "fetch.error.backoff.ms": 50, **COMMON})
    reader.assign([TopicPartition(options.topic, p, OFFSET_BEGINNING) for p in range(options.partitions)])
    return reader


def poll(reader, options, history, process, final=False):
    """One poll; returns the offset after the last one, by partition."""
    start = time.time_ns()
    messages = [m for m in reader.consume(500, 0.2) if m.error() is None]
    records, ends = {}, {}
    for message in messages:
        key = f"{options.topic}-{message.partition()}"
        records.setdefault(key, []).append([message.offset(), value_of(message.value())])
        ends[message.partition()] = message.offset() + 1
    if records:
        history.write(process, start, time.time_ns(), "ok", {"poll": records}, final)
    return ends


def read_on(options, history, stop):
    reader = consumer(options)
    while not stop.is_set():
        poll(reader, options, history, f"rdkafka-read-{options.name}")
    reader.close()


def read_all(options, history):
    """Reads everything that was there when it began."""
    reader, process = consumer(options), f"rdkafka-final-{options.name}"
    deadline = time.monotonic() + options.patience
    ends = {}
    for partition in range(options.partitions):
        while partition not in ends:
            try:
                low, high = reader.get_watermark_offsets(TopicPartition(options.topic, partition), timeout=5)
                ends[partition] = high
            except KafkaException as refused:
                if time.monotonic() > deadline:
                    sys.exit(f"the end of partition {partition} can't be had: {refused}")
    at = dict.fromkeys(ends, 0)
    while any(at[p] < ends[p] for p in ends):
        if time.monotonic() > deadline:
            sys.exit(f"the topic can't be read to its end: at {at} of {ends}")
        at.update(poll(reader, options, history, process, final=True))
    now = time.time_ns()
    empty = {f"{options.topic}-{p}": [] for p in range(options.partitions)}
    history.write(process, now, now, "ok", {"poll": empty}, final=True)
    reader.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--history", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--first-value", type=int, default=0)
    parser.add_argument("--rate", type=float, default=100.0, help="records a second")
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds that the final reading may take")
    options = parser.parse_args()
    history = History(options.history)
    if options.final:
        read_all(options, history)
        history.close()
        return
    stop_sending, stop_reading = threading.Event(), threading.Event()
    reader = threading.Thread(target=read_on, args=(options, history, stop_reading))
    sender = threading.Thread(target=Sender(options, history, stop_sending).run)
    reader.start()
    sender.start()
    sys.stdin.read()
    stop_sending.set()
    sender.join()
    stop_reading.set()
    reader.join()
    history.close()


main()
