import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Tally's join written for Kafka Streams: two threads, exchanges and counts with a changelog each, in memory or, the
 * exchanges, in RocksDB.
 *
 * <p>Arguments: BOOTSTRAP REQUESTS RESPONSES FEEDBACK EVENTS PARTITIONS APP_ID [at_least_once|exactly_once_v2
 * [memory|rocksdb]].
 */
public final class JoinPeer {
  private static final AtomicLong seen = new AtomicLong();
  private static final AtomicLong judged = new AtomicLong();
  private static final AtomicLong firstNanos = new AtomicLong();
  private static final CountDownLatch done = new CountDownLatch(1);
  private static volatile long lastNanos;

  public static void main(String[] args) throws Exception {
    String requests = args[1];
    String responses = args[2];
    String feedback = args[3];
    long events = Long.parseLong(args[4]);
    String guarantee = args.length > 7 ? args[7] : "at_least_once";
    boolean exact = guarantee.equals("exactly_once_v2");
    boolean onDisk = args.length > 8 && args[8].equals("rocksdb");

    Topology topology = new Topology();
    topology.addSource(
        "events", Serdes.Bytes().deserializer(), Serdes.ByteArray().deserializer(), requests, responses, feedback);
    topology.addProcessor("join", () -> new Join(requests, responses, events), "events");
    topology.addStateStore(
        Stores.keyValueStoreBuilder(
                onDisk
                    ? Stores.persistentKeyValueStore("exchanges")
                    : Stores.inMemoryKeyValueStore("exchanges"),
                Serdes.Bytes(),
                Serdes.ByteArray())
            .withLoggingEnabled(Map.of()),
        "join");
    topology.addStateStore(
        Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("counts"), Serdes.String(), Serdes.Long())
            .withCachingEnabled()
            .withLoggingEnabled(Map.of()),
        "join");

    KafkaStreams streams = new KafkaStreams(topology, settings(args[0], args[6], guarantee, exact ? 200 : 2000));
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
          return null;
        });
    streams.start();
    if (!done.await(15, TimeUnit.MINUTES)) throw new IllegalStateException("saw " + seen + " of " + events);
    System.err.printf("judged %d%n", judged.get());
    System.out.printf(
        "%s %.0f%n",
        "kafka-streams" + (exact ? "-exactly-once" : "") + (onDisk ? "-rocksdb" : ""),
        events / ((lastNanos - firstNanos.get()) / 1e9));
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  private static Properties settings(String bootstrap, String app, String guarantee, int commitMs) {
    Properties settings = new Properties();
    settings.putAll(
        Map.of(
            "bootstrap.servers", bootstrap,
            "application.id", app,
            "processing.guarantee", guarantee,
            "num.stream.threads", "2",
            "auto.offset.reset", "earliest",
            "state.dir", System.getProperty("java.io.tmpdir") + "/" + app,
            "commit.interval.ms", String.valueOf(commitMs)));
    settings.putAll(
        Map.of(
            "max.poll.records", "2000",
            "consumer.fetch.max.bytes", "52428800",
            "consumer.max.partition.fetch.bytes", "4194304",
            "producer.linger.ms", "20",
            "producer.batch.size", "262144"));
    return settings;
  }

  /** All that is kept of one puid; times are milliseconds. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public static final class Exchange {
    public String service;
    public Long requested;
    public Long answered;
    public Integer predicted;
    public Double score;
    public Long told;
    public Integer label;
    public Double reward;
  }

  private static final class Join implements Processor<Bytes, byte[], Void, Void> {
    private static final ObjectMapper JSON = new ObjectMapper();
    private final ObjectReader decode = JSON.readerFor(Exchange.class);
    private final ObjectWriter encode = JSON.writerFor(Exchange.class);
    private final String requests;
    private final String responses;
    private final long events;
    private ProcessorContext<Void, Void> context;
    private KeyValueStore<Bytes, byte[]> exchanges;
    private KeyValueStore<String, Long> counts;

    Join(String requests, String responses, long events) {
      this.requests = requests;
      this.responses = responses;
      this.events = events;
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
      this.context = context;
      exchanges = context.getStateStore("exchanges");
      counts = context.getStateStore("counts");
    }

    @Override
    public void process(Record<Bytes, byte[]> event) {
      if (firstNanos.get() == 0) firstNanos.compareAndSet(0, System.nanoTime());
      try {
        absorb(event, context.recordMetadata().orElseThrow().topic());
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
      if (seen.incrementAndGet() == events) {
        lastNanos = System.nanoTime();
        done.countDown();
      }
    }

    private void absorb(Record<Bytes, byte[]> event, String topic) throws IOException {
      JsonNode payload = JSON.readTree(event.value());
      byte[] known = exchanges.get(event.key());
      Exchange exchange = known == null ? new Exchange() : decode.readValue(known);
      boolean complete = exchange.predicted != null && exchange.label != null;
      exchange.service =
          new String(event.headers().lastHeader("ce_inferenceservicename").value(), StandardCharsets.UTF_8);
      if (topic.equals(requests)) {
        exchange.requested = event.timestamp();
      } else if (topic.equals(responses)) {
        JsonNode row = payload.get("data").get("ndarray").get(0);
        exchange.predicted = greatest(row);
        exchange.score = row.get(exchange.predicted).asDouble();
        exchange.answered = event.timestamp();
      } else {
        exchange.label = greatest(payload.get("truth").get("data").get("ndarray").get(0));
        exchange.reward = payload.get("reward").asDouble();
        exchange.told = event.timestamp();
      }
      exchanges.put(event.key(), encode.writeValueAsBytes(exchange));
      if (!complete && exchange.predicted != null && exchange.label != null) {
        long minute = exchange.answered / 60_000;
        String cell = exchange.service + "|" + minute + "|" + exchange.predicted + "|" + exchange.label;
        Long count = counts.get(cell);
        counts.put(cell, count == null ? 1 : count + 1);
        judged.incrementAndGet();
      }
    }

    private static int greatest(JsonNode row) {
      int best = 0;
      for (int i = 1; i < row.size(); i++) if (row.get(i).asDouble() > row.get(best).asDouble()) best = i;
      return best;
    }
  }
}
