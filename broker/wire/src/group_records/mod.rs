//! The records of `__consumer_offsets`, as Apache Kafka 4 writes and reads them: one file for each type, with
//! its key and its value; and the list of all types.
//!
//! A key begins with its record's type, which older versions of Kafka call the key's version; a value begins
//! with its version. A record without a value, a tombstone, removes what the key names. The names are
//! Kafka's, in Rust's spelling; the source of the fields is Kafka's schemas of its group coordinator.
//!
//! Not here: batches and what else a record has; and the types of share and Streams groups.

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, EncodeError, Message, decode_prefix, encode_prefixed};

mod consumer_group_current_member_assignment;
mod consumer_group_member_metadata;
mod consumer_group_metadata;
mod consumer_group_partition_metadata;
mod consumer_group_regular_expression;
mod consumer_group_target_assignment_member;
mod consumer_group_target_assignment_metadata;
mod group_metadata;
mod offset_commit;

/// The type of an offset's record that early versions of Kafka wrote; its key and value are read as those of
/// [`GroupRecord::OffsetCommit`], as which it is written again.
pub const LEGACY_OFFSET_COMMIT: i16 = 0;

/// Calls the macro `$then` with what is given after it and the list of all types of records: each with its
/// module, its name, its number and its key and value.
#[macro_export]
macro_rules! with_group_records {
    ($then:path $(, $($given:tt)*)?) => {
        $then! { $($($given)*)?
            offset_commit: OffsetCommit = 1 (OffsetCommitKey, OffsetCommitValue<'a>);
            group_metadata: GroupMetadata = 2 (GroupMetadataKey, GroupMetadataValue<'a>);
            consumer_group_metadata: ConsumerGroupMetadata = 3 (ConsumerGroupMetadataKey, ConsumerGroupMetadataValue);
            consumer_group_partition_metadata: ConsumerGroupPartitionMetadata = 4 (ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue<'a>);
            consumer_group_member_metadata: ConsumerGroupMemberMetadata = 5 (ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue<'a>);
            consumer_group_target_assignment_metadata: ConsumerGroupTargetAssignmentMetadata = 6 (ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue);
            consumer_group_target_assignment_member: ConsumerGroupTargetAssignmentMember = 7 (ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue);
            consumer_group_current_member_assignment: ConsumerGroupCurrentMemberAssignment = 8 (ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue);
            consumer_group_regular_expression: ConsumerGroupRegularExpression = 16 (ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue<'a>);
        }
    };
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedGroupRecord<'a> {
    /// A record.
    Known(GroupRecord<'a>),
    /// A record of a type that isn't known here: another kind of group's, or one that a newer Kafka left
    /// behind. Kafka passes over what it doesn't know.
    Unknown {
        /// The number of its type.
        record_type: i16,
    },
}

/// The bytes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedGroupRecord {
    /// Its key.
    pub key: Bytes,
    /// Its value; none for a tombstone.
    pub value: Option<Bytes>,
}

macro_rules! define_records {
    ($($module:ident: $name:ident = $number:literal ($key:ident, $value:ident $(<$of_value:lifetime>)?);)*) => {
        $(pub use $module::*;)*

        /// A record of `__consumer_offsets`: its key, and its value unless it is a tombstone.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum GroupRecord<'a> {
            $(
                #[doc = concat!("Type ", stringify!($number), ", `", stringify!($name), "`.")]
                $name($key<'a>, Option<$value $(<$of_value>)?>),
            )*
        }

        impl<'a> GroupRecord<'a> {
            /// The number of the record's type.
            pub fn record_type(&self) -> i16 {
                match self {
                    $(Self::$name(..) => $number,)*
                }
            }

            /// Reads a record. Bytes that follow its key or its value are passed over, as Kafka does.
            ///
            /// # Errors
            /// When the key or the value is cut off, isn't one, or the value is in a version that Kafka 4
            /// doesn't have; the error's field tells which. Kafka's coordinators don't start on such a
            /// record.
            pub fn decode(key: &'a [u8], value: Option<&'a [u8]>) -> Result<DecodedGroupRecord<'a>, DecodeError> {
                let mut decoder = Decoder::new(key);
                let record_type = decode_prefix(&mut decoder, "GroupRecord.type")?;
                let known = match if record_type == LEGACY_OFFSET_COMMIT { 1 } else { record_type } {
                    $($number => {
                        let key = $key::decode_body(&mut decoder, KEY_VERSION)?;
                        Self::$name(key, decode_value(value, concat!(stringify!($value), ".version"))?)
                    })*
                    _ => return Ok(DecodedGroupRecord::Unknown { record_type }),
                };
                Ok(DecodedGroupRecord::Known(known))
            }

            /// The record's key and value, in the version that Apache Kafka 4 writes.
            ///
            /// # Errors
            /// When a value doesn't fit.
            pub fn encode(&self) -> Result<EncodedGroupRecord, EncodeError> {
                let (key, value) = match self {
                    $(Self::$name(key, value) => (
                        encode_prefixed($number, key, KEY_VERSION)?,
                        value.as_ref().map(|value| {
                            let version = self.value_version();
                            encode_prefixed(version, value, version)
                        }),
                    ),)*
                };
                Ok(EncodedGroupRecord { key, value: value.transpose()? })
            }
        }
    };
}

with_group_records! { define_records }

/// All keys have one version; what stands before a key is its type.
const KEY_VERSION: i16 = 0;

impl GroupRecord<'_> {
    /// The version that Kafka 4 writes the record's value in.
    fn value_version(&self) -> i16 {
        match self {
            Self::OffsetCommit(_, Some(value)) if value.expire_timestamp != NEVER => 1,
            Self::OffsetCommit(..) => 4,
            Self::GroupMetadata(..) => 3,
            Self::ConsumerGroupMetadata(..)
            | Self::ConsumerGroupPartitionMetadata(..)
            | Self::ConsumerGroupMemberMetadata(..)
            | Self::ConsumerGroupTargetAssignmentMetadata(..)
            | Self::ConsumerGroupTargetAssignmentMember(..)
            | Self::ConsumerGroupCurrentMemberAssignment(..)
            | Self::ConsumerGroupRegularExpression(..) => 0,
        }
    }
}

/// The `expire_timestamp` of an offset that is kept for as long as the broker keeps others.
const NEVER: i64 = -1;

fn decode_value<'a, V: Message<'a>>(
    value: Option<&'a [u8]>,
    field: &'static str,
) -> Result<Option<V>, DecodeError> {
    let Some(bytes) = value else { return Ok(None) };
    let mut decoder = Decoder::new(bytes);
    let version = decode_prefix(&mut decoder, field)?;
    V::decode_body(&mut decoder, version).map(Some)
}
