//! ConsumerGroupMemberMetadata: a member of a group of the consumer protocol, and what it reads.

use ottla_wire_derive::Message;

/// Which member of which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct ConsumerGroupMemberMetadataKey<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member's id.
    pub member_id: &'a str,
}

/// The member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ConsumerGroupMemberMetadataValue<'a> {
    /// A static member's name of itself.
    #[kafka(nullable)]
    pub instance_id: Option<&'a str>,
    /// Its rack.
    #[kafka(nullable)]
    pub rack_id: Option<&'a str>,
    /// The client's name of itself.
    pub client_id: &'a str,
    /// From where it joined.
    pub client_host: &'a str,
    /// The topics that it reads, by name.
    pub subscribed_topic_names: Vec<&'a str>,
    /// The pattern of the names of topics that it reads.
    #[kafka(nullable)]
    pub subscribed_topic_regex: Option<&'a str>,
    /// For how long to wait until it gives partitions up, in milliseconds; -1 if unknown.
    #[kafka(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The server's assignor that it wants.
    #[kafka(nullable)]
    pub server_assignor: Option<&'a str>,
    /// What a member that uses the classic protocol joined with; null if it uses the consumer protocol. The
    /// default, for which nothing is written, isn't null: Kafka's schema says `null` where `"null"` was
    /// meant.
    #[kafka(nullable, tag = 0, default = Some(ClassicMemberMetadata::default()))]
    pub classic_member_metadata: Option<ClassicMemberMetadata<'a>>,
}

/// What a member that uses the classic protocol joined with.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ClassicMemberMetadata<'a> {
    /// After how long without a heartbeat it is taken for dead, in milliseconds.
    pub session_timeout_ms: i32,
    /// The protocols that it knows.
    pub supported_protocols: Vec<ClassicProtocol<'a>>,
}

/// A protocol that a member knows.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ClassicProtocol<'a> {
    /// The protocol's name.
    pub name: &'a str,
    /// What the member says for it.
    pub metadata: &'a [u8],
}
