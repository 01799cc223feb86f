//! What is known of an API that is served: its versions, the right that it needs, what serving it costs, and
//! who begins it.

use ottla_wire::codec::Message;
use ottla_wire::{Api, ApiKey, DecodeError, Decoder, RequestHeader};

use crate::request::{AnswerCost, Begun, Call, CallError, Count};

/// The right that an API needs, as Kafka's access control lists name them. Nothing is refused by it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// None: it is needed before a client can be known.
    None,
    /// To read a topic.
    ReadTopic,
    /// To write to a topic.
    WriteTopic,
    /// To see that a topic exists.
    DescribeTopic,
    /// To create topics.
    CreateTopic,
    /// To delete a topic.
    DeleteTopic,
    /// To change a topic.
    AlterTopic,
    /// To change configurations.
    AlterConfigs,
    /// To see configurations.
    DescribeConfigs,
    /// To change the cluster.
    AlterCluster,
    /// To see the cluster.
    DescribeCluster,
    /// To write with sequence numbers.
    IdempotentWrite,
    /// To see a group.
    DescribeGroup,
}

/// An API that is served.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Its key.
    pub key: ApiKey,
    /// The oldest version that is served.
    pub version_first: i16,
    /// The newest.
    pub version_last: i16,
    /// The right that it needs.
    pub operation: Operation,
    /// What serving a request takes, at most, for each byte of its arrays and texts: those arrays themselves,
    /// what is made of them, and the answer until it is sent. A test counts it.
    pub cost_factor: usize,
    /// Measures a request. Takes no memory itself.
    pub measure: Measure,
    /// What its answer takes besides, where the request doesn't bound that: a short one may ask about
    /// everything.
    pub answer: AnswerCost,
    /// Begins a request.
    pub begin: fn(Call) -> Begun,
}

/// What there is in a request, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What its arrays take once it is decoded.
    pub arrays: usize,
    /// The length of its texts, and of opaque bytes other than records.
    pub texts: usize,
}

/// From a whole frame, the request's version and the most that its arrays may take, in bytes, to what there
/// is in it.
pub type Measure = fn(&[u8], i16, usize) -> Result<Measured, DecodeError>;

fn measure<A: Api>(frame: &[u8], version: i16, limit_bytes: usize) -> Result<Measured, DecodeError> {
    let mut decoder = Decoder::with_memory_limit(frame, limit_bytes);
    RequestHeader::decode(&mut decoder)?;
    A::Request::skip_body(&mut decoder, version)?;
    Ok(Measured { arrays: decoder.memory_bytes(), texts: decoder.text_bytes() })
}

/// An API as the registry says it.
pub(super) const fn serve<A: Api>(
    version_first: i16,
    version_last: i16,
    operation: Operation,
    cost_factor: usize,
    begin: fn(Call) -> Begun,
) -> Served {
    Served {
        key: A::KEY,
        version_first,
        version_last,
        operation,
        cost_factor,
        measure: measure::<A>,
        answer: AnswerCost::Nothing,
        begin,
    }
}

impl Served {
    /// Its answer takes so many bytes.
    pub(super) const fn answered_with(self, bytes: fn(&Call) -> Result<usize, CallError>) -> Self {
        Self { answer: AnswerCost::Bytes(bytes), ..self }
    }

    /// Its answer tells of so many topics and partitions, which take so many bytes each.
    pub(super) const fn telling_of(
        self,
        count: fn(&Call) -> Result<Count, CallError>,
        topic_bytes: usize,
        partition_bytes: usize,
    ) -> Self {
        Self { answer: AnswerCost::Topics { count, topic_bytes, partition_bytes }, ..self }
    }

    /// The oldest version that ApiVersions tells. As Apache Kafka 4 it tells of Produce from 0 on and serves
    /// 3 and up: older versions of librdkafka take the compressions for unknown otherwise and send
    /// uncompressed, without a word.
    pub fn version_told_first(&self) -> i16 {
        if self.key == ApiKey::Produce { 0 } else { self.version_first }
    }
}
