//! What the volumes of an earlier cluster of the same name remember of it, and whether this one can take them
//! up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use ottla_types::{BrokerId, ClusterId};

use crate::build::{CLUSTER_ID_ANNOTATION, VOTERS_ANNOTATION};
use crate::names::Names;

/// The most volumes that a message names.
const NAMES_SHOWN_MAX: usize = 5;

/// What the volumes remember.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Retained {
    /// The cluster whose records they hold.
    pub cluster_id: Option<ClusterId>,
    /// Who voted in it.
    pub voters: Option<Vec<BrokerId>>,
}

/// Why a cluster isn't begun on the volumes that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// In one word.
    pub reason: &'static str,
    /// What stands against it, and what to do.
    pub message: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What the claims of a cluster say. Those that are being deleted say nothing: what comes in their place is
/// empty.
pub(crate) fn retained(claims: &[PersistentVolumeClaim]) -> Retained {
    let cluster_id = said(claims, CLUSTER_ID_ANNOTATION).find_map(|(_, text)| text.parse().ok());
    let voters = said(claims, VOTERS_ANNOTATION).find_map(|(_, text)| parse_ids(text));
    Retained { cluster_id, voters }
}

/// Whether a cluster of `replicas` brokers, which has no record of its own yet, can take up these claims.
///
/// With fewer brokers than the volumes know of, the quorum never has its majority, and the brokers start for
/// ever.
///
/// # Errors
/// Why it can't.
pub(crate) fn check(claims: &[PersistentVolumeClaim], names: Names<'_>, replicas: i32) -> Result<(), Unfit> {
    let ids: BTreeMap<&str, &str> =
        said(claims, CLUSTER_ID_ANNOTATION).map(|(name, id)| (id, name)).collect();
    if let [(one, first), (other, second), ..] = ids.into_iter().collect::<Vec<_>>()[..] {
        let message = format!(
            "the volume claim {first} holds records of the cluster {one}, and {second} of the cluster {other}: delete the claims whose records are not wanted"
        );
        return Err(Unfit { reason: "VolumesOfTwoClusters", message });
    }
    let known = brokers_known(claims, names);
    let needed = known.last().map_or(0, |last| last + 1);
    if needed <= i64::from(replicas) {
        return Ok(());
    }
    let last = needed - 1;
    let mut kept: Vec<&str> = said(claims, CLUSTER_ID_ANNOTATION).map(|(name, _)| name).collect();
    let more = kept.len().saturating_sub(NAMES_SHOWN_MAX);
    kept.truncate(NAMES_SHOWN_MAX);
    let mut list = kept.join(", ");
    if more > 0 {
        list += &format!(" and {more} more");
    }
    let message = format!(
        "the volumes that an earlier cluster of this name left ({list}) know of brokers up to number {last}, and spec.replicas is {replicas}: set spec.replicas to {needed} or more; or, to begin anew without their records, delete these claims"
    );
    Err(Unfit { reason: "FewerBrokersThanBefore", message })
}

/// The numbers of the brokers that the claims know of: whose they are, and who voted.
fn brokers_known(claims: &[PersistentVolumeClaim], names: Names<'_>) -> BTreeSet<i64> {
    let prefix = format!("data-{}-", names.brokers());
    let own = said(claims, CLUSTER_ID_ANNOTATION)
        .filter_map(|(name, _)| name.strip_prefix(&prefix)?.parse::<u32>().ok().map(i64::from));
    let voters = said(claims, VOTERS_ANNOTATION).filter_map(|(_, text)| parse_ids(text)).flatten();
    own.chain(voters.map(|id| i64::from(id.0))).collect()
}

/// The claims that stay and have this annotation: name and text.
fn said<'a>(claims: &'a [PersistentVolumeClaim], key: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let staying = claims.iter().filter(|claim| claim.metadata.deletion_timestamp.is_none());
    staying.filter_map(move |claim| {
        let text = claim.metadata.annotations.as_ref()?.get(key)?;
        Some((claim.metadata.name.as_deref().unwrap_or_default(), text.as_str()))
    })
}

fn parse_ids(text: &str) -> Option<Vec<BrokerId>> {
    text.split(',').map(|id| id.parse().ok().map(BrokerId)).collect()
}
