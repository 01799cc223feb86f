//! DescribeLogDirs: this broker's data folder, its volume, and how large the partitions in it are.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use ottla_core::metadata::{MetadataImage, TopicImage};
use ottla_types::PartitionIndex;
use ottla_wire::ErrorCode;
use ottla_wire::apis::DescribeLogDirs;
use ottla_wire::messages::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use super::duplicates::grouped;
use crate::broker::Volume;
use crate::partitions::Partition;
use crate::request::{Begun, Call, CallError, Count};

/// Measures what is asked for.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DescribeLogDirs>()?;
        let folder = call.broker.config.data_dir.clone();
        // A disk that hangs must not hold up other connections.
        let volume = call
            .broker
            .quorum
            .tasks()
            .spawn_blocking("measure the volume", move || measured_volume(&folder))
            .await;
        let volume = volume.unwrap_or(UNKNOWN);
        let image = call.broker.image();
        let result = DescribeLogDirsResult {
            error_code: ErrorCode::None.code(),
            log_dir: call.broker.config.data_dir.to_string_lossy(),
            topics: topics(&call, &request, &image),
            total_bytes: volume.0,
            usable_bytes: volume.1,
            is_cordoned: false,
        };
        call.respond::<DescribeLogDirs>(&DescribeLogDirsResponse {
            results: vec![result],
            ..Default::default()
        })
    })
}

/// What it tells of, if it is asked for all partitions.
///
/// # Errors
/// When the request can't be decoded.
pub fn count(call: &Call) -> Result<Count, CallError> {
    Ok(Count::all_if(call.decode::<DescribeLogDirs>()?.topics.is_none(), call))
}

const UNKNOWN: (i64, i64) = (-1, -1);

/// The volume's size and what can be used of it, in bytes, as the answer has them.
fn measured_volume(folder: &Path) -> (i64, i64) {
    let Ok(volume) = Volume::of(folder) else { return UNKNOWN };
    let wire = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    (wire(volume.total_bytes), wire(volume.usable_bytes))
}

fn topics<'a>(
    call: &Call,
    request: &DescribeLogDirsRequest<'_>,
    image: &'a MetadataImage,
) -> Vec<DescribeLogDirsTopic<'a>> {
    let one = |topic: &'a TopicImage, indexes: &mut dyn Iterator<Item = PartitionIndex>| {
        let open = indexes.filter_map(|index| {
            let partition = call.broker.partitions.get(topic.id, index)?;
            Some(measured(index, &partition))
        });
        DescribeLogDirsTopic { name: Cow::Borrowed(topic.name.as_str()), partitions: open.collect() }
    };
    let all: Vec<_> = match &request.topics {
        None => image
            .topic_ids
            .values()
            .map(|id| one(&image.topics[id], &mut image.topics[id].numbered().map(|(index, _)| index)))
            .collect(),
        Some(asked) => {
            let named =
                asked.iter().flat_map(|asked| asked.partitions.iter().map(|index| (asked.topic, *index)));
            grouped(named)
                .into_iter()
                .filter_map(|(name, indexes)| {
                    let indexes: BTreeSet<i32> = indexes.into_iter().collect();
                    Some(one(image.topic(name)?, &mut indexes.into_iter().map(PartitionIndex)))
                })
                .collect()
        }
    };
    all.into_iter().filter(|topic| !topic.partitions.is_empty()).collect()
}

fn measured(index: PartitionIndex, partition: &Partition) -> DescribeLogDirsPartition {
    let offsets = partition.offsets();
    DescribeLogDirsPartition {
        partition_index: index.0,
        partition_size: i64::try_from(partition.log.size_bytes()).unwrap_or(i64::MAX),
        offset_lag: (offsets.high_watermark.0 - offsets.log_end.0).max(0),
        is_future_key: false,
    }
}
