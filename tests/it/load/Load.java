// A client under faults: sends unique values and reads them all, by Apache Kafka's own client, and writes down what
// happened. The same as load.py, and run as one file: java -cp 'jars/*' Load.java ARGUMENTS

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Load {
    /** A value is written this often into its record, so that a record has some length. */
    private static final int REPEATS = 5;
    /** What stands for a record that isn't one of ours. */
    private static final String UNREADABLE = "9223372036854775808";

    private final String bootstrap;
    private final String topic;
    private final int partitions;
    private final String name;
    private final double rate;
    private final PrintWriter history;
    private long value;
    private volatile boolean sending = true;
    private volatile boolean reading = true;

    private Load(Map<String, String> options) throws Exception {
        bootstrap = options.get("--bootstrap");
        topic = options.get("--topic");
        partitions = Integer.parseInt(options.get("--partitions"));
        name = options.get("--name");
        rate = Double.parseDouble(options.getOrDefault("--rate", "100"));
        value = Long.parseLong(options.getOrDefault("--first-value", "0"));
        history = new PrintWriter(Files.newBufferedWriter(Path.of(options.get("--history"))));
    }

    /** The clock that all clients share, in nanoseconds since 1970. */
    private static long now() {
        java.time.Instant instant = java.time.Instant.now();
        return instant.getEpochSecond() * 1_000_000_000L + instant.getNano();
    }

    private synchronized void write(String process, long start, String outcome, String step) {
        history.println("{\"process\":\"" + process + "\",\"start\":" + start + ",\"end\":" + now() + ",\"outcome\":\""
            + outcome + "\",\"steps\":[" + step + "]}");
    }

    private static byte[] payload(long value) {
        return String.format("%020d", value).repeat(REPEATS).getBytes(StandardCharsets.US_ASCII);
    }

    private static String valueOf(byte[] record) {
        try {
            long value = Long.parseLong(new String(record, 0, 20, StandardCharsets.US_ASCII));
            return java.util.Arrays.equals(record, payload(value)) ? Long.toString(value) : UNREADABLE;
        } catch (RuntimeException notOurs) {
            return UNREADABLE;
        }
    }

    private KafkaProducer<byte[], byte[]> producer() {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("acks", "all");
        settings.put("enable.idempotence", true);
        settings.put("linger.ms", 2);
        // A broker that is stopped or cut off answers nothing: clients must notice before the faults are over.
        settings.put("request.timeout.ms", 3000);
        settings.put("delivery.timeout.ms", 60_000);
        settings.put("max.block.ms", 30_000);
        settings.put("retry.backoff.ms", 50);
        settings.put("retry.backoff.max.ms", 200);
        settings.put("reconnect.backoff.max.ms", 500);
        settings.put("socket.connection.setup.timeout.ms", 2000);
        settings.put("metadata.max.age.ms", 5000);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private String send(long sent, int partition, Long offset) {
        return "{\"send\":[\"" + topic + "-" + partition + "\"," + sent + "," + offset + "]}";
    }

    /** Sends to all partitions in turn. A producer that fails for good is replaced, as another process. */
    private void sendAll() {
        int incarnation = 0;
        int partition = 0;
        Map<String, Integer> errors = new ConcurrentHashMap<>();
        long interval = (long) (1e9 / rate);
        while (sending) {
            String process = "java-send-" + name + "-" + incarnation++;
            boolean[] fatal = {false};
            KafkaProducer<byte[], byte[]> producer = producer();
            long due = System.nanoTime();
            while (sending && !fatal[0]) {
                long sent = value++;
                int to = partition;
                long start = now();
                partition = (partition + 1) % partitions;
                try {
                    producer.send(new ProducerRecord<>(topic, to, null, payload(sent)), (RecordMetadata at, Exception error) -> {
                        if (error == null) {
                            write(process, start, "ok", send(sent, to, at.hasOffset() ? at.offset() : null));
                            return;
                        }
                        // An earlier try may have been applied, whatever the last one was told.
                        errors.merge(error.getClass().getSimpleName(), 1, Integer::sum);
                        fatal[0] |= !(error instanceof RetriableException);
                        write(process, start, "unknown", send(sent, to, null));
                    });
                } catch (KafkaException refused) {
                    write(process, start, "unknown", send(sent, to, null));
                    fatal[0] = true;
                }
                // Faults hold up records, not their senders; but what is late isn't made up for.
                due = Math.max(due + interval, System.nanoTime() - 100_000_000L);
                pause(due - System.nanoTime());
            }
            producer.close(Duration.ofSeconds(60));
        }
        if (!errors.isEmpty()) {
            System.err.println("java-send-" + name + ": errors " + errors);
        }
    }

    private static void pause(long nanos) {
        if (nanos > 0) {
            java.util.concurrent.locks.LockSupport.parkNanos(nanos);
        }
    }

    private void readOn() {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "earliest");
        settings.put("fetch.max.wait.ms", 100);
        settings.put("request.timeout.ms", 3000);
        settings.put("retry.backoff.ms", 50);
        settings.put("retry.backoff.max.ms", 200);
        settings.put("reconnect.backoff.max.ms", 500);
        settings.put("socket.connection.setup.timeout.ms", 2000);
        settings.put("metadata.max.age.ms", 5000);
        settings.put("default.api.timeout.ms", 60_000);
        int incarnation = 0;
        while (reading) {
            String process = "java-read-" + name + "-" + incarnation++;
            try (KafkaConsumer<byte[], byte[]> consumer =
                     new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                List<TopicPartition> all = new ArrayList<>();
                for (int p = 0; p < partitions; p++) {
                    all.add(new TopicPartition(topic, p));
                }
                consumer.assign(all);
                consumer.seekToBeginning(all);
                while (reading) {
                    long start = now();
                    ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
                    if (!records.isEmpty()) {
                        write(process, start, "ok", poll(records));
                    }
                }
            } catch (KafkaException failed) {
                System.err.println(process + ": " + failed);
            }
        }
    }

    private String poll(ConsumerRecords<byte[], byte[]> records) {
        Map<Integer, StringBuilder> keys = new TreeMap<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            StringBuilder list = keys.computeIfAbsent(record.partition(), p -> new StringBuilder());
            list.append(list.length() == 0 ? "" : ",");
            list.append('[').append(record.offset()).append(',').append(valueOf(record.value())).append(']');
        }
        StringBuilder step = new StringBuilder();
        keys.forEach((p, list) -> {
            step.append(step.length() == 0 ? "" : ",");
            step.append('"').append(topic).append('-').append(p).append("\":[").append(list).append(']');
        });
        return "{\"poll\":{" + step + "}}";
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            options.put(arguments[at], arguments[at + 1]);
        }
        Load load = new Load(options);
        Thread sender = new Thread(load::sendAll, "send");
        Thread reader = new Thread(load::readOn, "read");
        sender.start();
        reader.start();
        // Until the standard input is closed.
        System.in.readAllBytes();
        load.sending = false;
        sender.join();
        load.reading = false;
        reader.join();
        load.history.close();
    }
}
