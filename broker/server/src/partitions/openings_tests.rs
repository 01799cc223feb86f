//! Places and memory for opening batches are given back whatever becomes of the work and of who waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_log::{BatchBuilder, BatchHeader, Codec, HEADER_BYTES, TimestampType, compress, with_times};
use ottla_quorum::Tasks;
use ottla_types::{BrokerId, LeaderEpoch, Offset};

use super::Openings;
use super::partition::{AppendOrigin, RequiredAcks};
use super::test_support::{create_log, led_by_the_first_of, open_store, replica_on};

const CLIENT: AppendOrigin = AppendOrigin::Client(RequiredAcks::AtMostLeader);
/// More than may be looked up or opened at a time.
const MANY: usize = 40;

/// An answer that comes unless something was kept for ever.
async fn soon<T>(wanted: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wanted).await.expect("a place isn't given back")
}

#[tokio::test]
async fn a_look_up_gives_its_place_back_be_it_done_given_up_or_ended_by_a_bug() {
    let openings = Arc::new(Openings::new(Tasks::default()));
    // Those who give up before it was their turn, and while it is.
    for round in 0..MANY {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (goes_on, waits) = std::sync::mpsc::channel::<()>();
        let waiting = Arc::clone(&openings);
        let task = tokio::spawn(async move {
            let look = move || {
                begun.send(()).unwrap_or_default();
                // Until the other end is gone.
                waits.recv().unwrap_err();
            };
            waiting.look_up(look).await
        });
        tokio::task::yield_now().await;
        if round % 2 == 0 {
            let begun = tokio::task::spawn_blocking(move || has_begun.recv());
            soon(begun).await.unwrap().unwrap();
        }
        task.abort();
        drop(goes_on);
        assert!(soon(task).await.is_err());
    }
    // Those that a bug ends.
    for _ in 0..MANY {
        let waiting = Arc::clone(&openings);
        let task = tokio::spawn(async move { waiting.look_up(|| panic!("a bug, for the test")).await });
        assert!(soon(task).await.is_err_and(|error| error.is_panic()), "who waits hears of it");
    }
    // And those that are done.
    for n in 0..MANY {
        assert_eq!(soon(openings.look_up(move || n)).await, Some(n));
    }
}

fn batch(codec: Codec, value: &[u8]) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let builder = builder.record(crate::clock::now_ms(), None, Some(value));
    builder.build_compressed(codec, &compress(codec, builder.records()).unwrap()).into()
}

/// Bytes that don't compress well.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

/// Large batches are opened elsewhere, and most of these are refused: what they took is there for the next.
#[tokio::test]
async fn batches_that_are_refused_give_back_what_it_took_to_open_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path(), BrokerId(1));
    let partition = replica_on(create_log(&store), BrokerId(1));
    partition.on_image(led_by_the_first_of(1), |_| Arc::default());
    let openings = Openings::new(Tasks::default());
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let good = batch(codec, &noise(80_000));
        assert!(good.len() > 64 << 10, "it isn't opened at once");
        let mut refused = 0;
        for part in 0..MANY {
            let mut broken = good.to_vec();
            let at = 61 + part * (broken.len() - 61) / MANY;
            broken[at] ^= 1 << (part % 8);
            // Its checksum says nothing of that.
            let broken: Bytes = broken.into();
            let time = BatchHeader::new(&broken).unwrap().max_timestamp();
            let header = with_times(&broken, TimestampType::Create, time);
            let broken = [&header[..], &broken[HEADER_BYTES..]].concat();
            refused += usize::from(soon(openings.check(&partition, &broken.into(), CLIENT)).await.is_err());
        }
        assert!(refused > 0, "{codec:?}: nothing was wrong");
        for _ in 0..2 {
            soon(openings.check(&partition, &good, CLIENT)).await.unwrap();
        }
    }
    // All of the memory is there for one that takes most of it.
    let large = batch(Codec::Zstd, &[7; 8 << 20]);
    soon(openings.check(&partition, &large, CLIENT)).await.unwrap();
}
