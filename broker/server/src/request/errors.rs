//! Which of Kafka's error codes stands for which failure: the one exhaustive mapping.

use ottla_core::metadata::{ElectionErrorKind, Rejection, TopicErrorKind};
use ottla_core::partition::FetchRefusal;
use ottla_log::{BatchError, SequenceError, SizeLimit};
use ottla_quorum::{SubmitError, VotersError};
use ottla_store::{AppendError, ReadError};
use ottla_wire::ErrorCode;

use crate::broker::Unavailable;
use crate::fetch::{ReplicaFetchError, SessionError};

/// The code for a partition that isn't served here.
pub fn unavailable_error(why: &Unavailable) -> ErrorCode {
    match why {
        Unavailable::UnknownTopic | Unavailable::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        Unavailable::UnknownTopicId => ErrorCode::UnknownTopicId,
        Unavailable::NotLeader | Unavailable::NotOpen => ErrorCode::NotLeaderOrFollower,
        Unavailable::FencedEpoch => ErrorCode::FencedLeaderEpoch,
        Unavailable::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
    }
}

/// The code for an append that failed.
pub fn append_error(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Batch(error) => batch_error(error),
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::Sequence(SequenceError::AppendedBefore { .. }) => ErrorCode::DuplicateSequenceNumber,
        AppendError::Sequence(SequenceError::Fenced { .. }) => ErrorCode::InvalidProducerEpoch,
        AppendError::Offset { .. } => ErrorCode::UnknownServerError,
        AppendError::NoSpace { .. } | AppendError::OutOfFiles { .. } | AppendError::Failed => {
            ErrorCode::KafkaStorageError
        }
        // Of all that is retried the one that says for certain that nothing was appended.
        AppendError::Busy => ErrorCode::NotEnoughReplicas,
        AppendError::Deleted | AppendError::Epoch { .. } => ErrorCode::NotLeaderOrFollower,
    }
}

fn batch_error(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Truncated { .. }
        | BatchError::Length(_)
        | BatchError::Crc { .. }
        | BatchError::LeaderEpoch(_) => ErrorCode::CorruptMessage,
        BatchError::Codec(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Refused(refused) if refused.is_of_time() => ErrorCode::InvalidTimestamp,
        BatchError::TooLarge { limit: SizeLimit::Segment, .. } => ErrorCode::RecordListTooLarge,
        // A client that may do so splits the batch and sends it again.
        BatchError::TooLarge { limit: SizeLimit::Message | SizeLimit::Inflated, .. } => {
            ErrorCode::MessageTooLarge
        }
        BatchError::Magic(_)
        | BatchError::Offsets { .. }
        | BatchError::BatchCount
        | BatchError::Sequence { .. }
        | BatchError::Refused(_)
        | BatchError::Record(_) => ErrorCode::InvalidRecord,
    }
}

/// The code for a read that failed.
pub fn read_error(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } | ReadError::Io { .. } => ErrorCode::KafkaStorageError,
        ReadError::Deleted => ErrorCode::NotLeaderOrFollower,
    }
}

/// The code for a partition of which a follower gets nothing.
pub fn replica_fetch_error(error: &ReplicaFetchError) -> ErrorCode {
    match error {
        ReplicaFetchError::Gone => ErrorCode::UnknownTopicId,
        ReplicaFetchError::Refused(refusal) => refusal_error(*refusal),
        ReplicaFetchError::BehindLogStart => ErrorCode::OffsetOutOfRange,
        ReplicaFetchError::Read(error) => read_error(error),
    }
}

fn refusal_error(refusal: FetchRefusal) -> ErrorCode {
    match refusal {
        FetchRefusal::NotLeader | FetchRefusal::NotReplica => ErrorCode::NotLeaderOrFollower,
        FetchRefusal::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
        FetchRefusal::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
        FetchRefusal::StaleBrokerEpoch => ErrorCode::StaleBrokerEpoch,
    }
}

/// The code for a fetch session that can't go on.
pub fn session_error(error: SessionError) -> ErrorCode {
    match error {
        SessionError::UnknownId => ErrorCode::FetchSessionIdNotFound,
        SessionError::WrongEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::TopicIds => ErrorCode::FetchSessionTopicIdError,
    }
}

/// The code for a command that has no reply.
pub fn submit_error(error: &SubmitError) -> ErrorCode {
    match error {
        SubmitError::Rejected(rejection) => rejection_error(rejection),
        SubmitError::TimedOut(_) => ErrorCode::RequestTimedOut,
        SubmitError::NotRunning => ErrorCode::NotController,
    }
}

fn rejection_error(rejection: &Rejection) -> ErrorCode {
    match rejection {
        Rejection::DuplicateBrokerRegistration { .. } => ErrorCode::DuplicateBrokerRegistration,
        Rejection::BrokerNotRegistered { .. } => ErrorCode::BrokerIdNotRegistered,
        Rejection::StaleBrokerEpoch { .. } => ErrorCode::StaleBrokerEpoch,
        Rejection::StaleMetadataVersion { .. }
        | Rejection::AnotherTopic { .. }
        | Rejection::NotNow { .. }
        | Rejection::Invalid { .. } => ErrorCode::InvalidRequest,
        Rejection::Topic(error) => topic_error(error.kind),
    }
}

/// The code for a topic that was left alone.
pub fn topic_error(kind: TopicErrorKind) -> ErrorCode {
    match kind {
        TopicErrorKind::TopicAlreadyExists => ErrorCode::TopicAlreadyExists,
        TopicErrorKind::InvalidTopic => ErrorCode::InvalidTopicException,
        TopicErrorKind::InvalidPartitions => ErrorCode::InvalidPartitions,
        TopicErrorKind::InvalidReplicationFactor => ErrorCode::InvalidReplicationFactor,
        TopicErrorKind::InvalidReplicaAssignment => ErrorCode::InvalidReplicaAssignment,
        TopicErrorKind::InvalidConfig => ErrorCode::InvalidConfig,
        TopicErrorKind::InvalidRequest => ErrorCode::InvalidRequest,
        TopicErrorKind::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        TopicErrorKind::UnknownTopicId => ErrorCode::UnknownTopicId,
        TopicErrorKind::PolicyViolation => ErrorCode::PolicyViolation,
        TopicErrorKind::NoReassignmentInProgress => ErrorCode::NoReassignmentInProgress,
    }
}

/// The code for a partition that keeps its leader.
pub fn election_error(kind: ElectionErrorKind) -> ErrorCode {
    match kind {
        ElectionErrorKind::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        ElectionErrorKind::ElectionNotNeeded => ErrorCode::ElectionNotNeeded,
        ElectionErrorKind::PreferredLeaderNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
        ElectionErrorKind::EligibleLeadersNotAvailable => ErrorCode::EligibleLeadersNotAvailable,
        ElectionErrorKind::InvalidRequest => ErrorCode::InvalidRequest,
    }
}

/// The code for voters that stay as they are.
pub fn voters_error(error: &VotersError) -> ErrorCode {
    match error {
        VotersError::Unknown(_) | VotersError::NotVoter(_) => ErrorCode::VoterNotFound,
        VotersError::AlreadyVoter(_) => ErrorCode::DuplicateVoter,
        VotersError::AnotherDirectory { .. } => ErrorCode::InvalidVoterKey,
        VotersError::Count(_) => ErrorCode::InvalidRequest,
        VotersError::NotYet | VotersError::Unavailable(_) => ErrorCode::RequestTimedOut,
    }
}
