//! Bugs that can be switched on to prove that the simulator finds them.
//!
//! Without the feature `planted-bugs`, which only the simulator has, no bug can be on and the compiler drops
//! all of it.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A fault of one line, in the place that asks for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum PlantedBug {
            $($(#[doc = $doc])+ $name,)+
        }

        impl PlantedBug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it does, for lists.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

bugs! {
    /// A leader takes a fetch of another epoch for one of its own.
    SkipFetchEpochCheck,
    /// A leader doesn't compare the follower's last epoch with its log.
    SkipDivergenceCheck,
    /// A leader compares where the follower's log ends, and not in which epoch, as before KIP-279.
    CompareOffsetsOnly,
    /// A new follower cuts its log at its high watermark, as before KIP-101.
    TruncateToHighWatermark,
    /// A follower asks without a word of its last epoch.
    AskWithoutLastEpoch,
    /// A follower cuts where the leader's epoch ends, though its own of that number ends before.
    KeepBehindOwnEpoch,
    /// A follower keeps what diverges.
    SkipTruncation,
    /// The high watermark counts what the leader has only written.
    CountUnsyncedLeader,
    /// The high watermark advances below the minimum of replicas in sync.
    IgnoreMinInsyncReplicas,
    /// The high watermark ignores members whose joining is under way.
    IgnoreJoiningMembers,
    /// The high watermark ignores members as soon as their leaving is proposed.
    DropLeavingMembersEarly,
    /// The high watermark ignores members that haven't said anything in this epoch.
    IgnoreSilentMembers,
    /// A new leader keeps what followers acknowledged in an earlier epoch.
    KeepAcknowledgementsOfOldEpoch,
    /// A follower joins before it has reached the high watermark.
    JoinBelowHighWatermark,
    /// A follower joins before it has reached the start of the leader's epoch.
    JoinBelowEpochStart,
    /// A leader takes a fetch of a follower's earlier registration.
    AcceptStaleBrokerEpochInFetch,
    /// A leader takes a fetch from another disk than the recorded one.
    AcceptForeignDirectoryInFetch,
    /// A deposed leader answers producers as if it still led.
    AcknowledgeAfterDeposed,
    /// A leader answers producers of an epoch that it led before.
    AcknowledgeInOtherEpoch,
    /// A record is acknowledged once the high watermark has reached it, not passed it.
    AcknowledgeAtHighWatermark,
    /// What is proposed counts no more once any image comes, of before the proposal too.
    SettleProposalsByAnyImage,
    /// Consumers are shown records beyond the high watermark.
    ServeBeyondHighWatermark,
    /// A follower's answer to an older question is appended.
    AcceptStaleFetchAnswer,
    /// A follower appends what its leader's successor has written, which its leader sends once it is deposed.
    AcceptBatchesOfLaterEpoch,
    /// A follower fetches from its written end before it is synced.
    FetchBeforeSync,
    /// A follower takes a leader's word on a log that was cut since and has the same end again.
    AcceptAnswerOnOlderLog,
    /// What the controller has refused may come true by an earlier copy that arrives later.
    RefuseWithoutNewEpoch,
    /// A member lags until it has all that there is, whatever it acknowledges meanwhile.
    LagUntilAllIsThere,
    /// A member lags by the age of the newest record that it lacks.
    LagByNewestRecord,
    /// A follower joins that would have to leave at once.
    JoinWhileLagging,
    /// The controller elects any replica that is online, in sync or not.
    ElectOutOfSync,
    /// A new leader is elected without an epoch of its own.
    ElectWithoutNewEpoch,
    /// Replicas stay eligible to lead although enough are in sync without them.
    KeepEligibleTooLong,
    /// The controller lets a replica join with an earlier registration of its broker.
    AcceptStaleBrokerEpochInIsr,
    /// The controller takes a change of the ISR that follows an older state.
    SkipPartitionEpochCheck,
    /// A replica stays in sync although its broker came back with another disk.
    ReuseWipedDisk,
    /// A replica of a topic that acknowledges what is only written stays in sync after a power loss.
    KeepAfterPowerLoss,
    /// A move is complete before what it adds is in sync.
    CompleteMoveTooEarly,
    /// Retention deletes what is old and synced, acknowledged or not.
    RetainPastHighWatermark,
    /// Retention deletes what is old and synced, and the partition isn't told.
    RetentionBehindPartition,
    /// A leader takes a follower's log that ends where its own begins for the same, whatever its last epoch.
    TrustWhereLogStarts,
    /// A leader takes a follower that names no epoch for one that had all before its fetch offset, whatever
    /// became of the partition since.
    TrustWithoutEpoch,
    /// A leader goes on counting what a follower acknowledged that it tells to cut its log.
    CountBeforeCut,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static ON: std::cell::Cell<Option<PlantedBug>> = const { std::cell::Cell::new(None) };
}

/// Switches a bug on for this thread, or all off.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<PlantedBug>) {
    ON.set(bug);
}

/// Whether this bug is on.
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: PlantedBug) -> bool {
    ON.get() == Some(bug)
}

/// Whether this bug is on: never.
#[cfg(not(feature = "planted-bugs"))]
pub const fn planted(_: PlantedBug) -> bool {
    false
}
